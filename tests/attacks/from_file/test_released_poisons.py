"""Poison files as they are published: each case makes its file, and says what becomes of it."""

import math
import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from attacks.from_file import FromFile
from bench.api import ImageSet
from bench.errors import UserError
from bench.stages.crafting import craft

COUNT, CLASSES, SHAPE = 60, 4, (3, 12, 12)
LABELS = torch.tensor([2, 0, 3, 1, 1, 0] * 10)  # in no order, unbalanced
HELD = torch.tensor([3, 7, 8, 30, 59])


@pytest.fixture
def train(smooth_set) -> ImageSet:
    return smooth_set(count=COUNT, classes=CLASSES, shape=SHAPE, labels=LABELS)


def _levels(count: int = COUNT, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(-size, size + 1, (count, *SHAPE), generator=generator, dtype=torch.int16)


def _added(images: Tensor, levels: Tensor) -> Tensor:
    return (images.to(torch.int16) + levels).clamp(0, 255).to(torch.uint8)


def _l2_levels(radius: float = 1.0) -> Tensor:
    noise = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return noise / noise.flatten(1).norm(dim=1)[:, None, None, None] * radius * 255


def _pngs(folder: Path, images: Tensor, names: list[str]) -> Path:
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
    return folder


def _npy(folder: Path, values: Tensor) -> Path:
    np.save(folder / "poison.npy", values.numpy())
    return folder / "poison.npy"


def _torch(folder: Path, content: object) -> Path:
    torch.save(content, folder / "poison.pt")
    return folder / "poison.pt"


def _in_class(train: ImageSet) -> list[str]:
    """CLASS/IDX.png with indices that count the images of the class."""
    seen: dict[int, int] = {}
    names = []
    for label in train.labels.tolist():
        names.append(f"{label}/{seen.get(label, 0)}.png")
        seen[label] = seen.get(label, 0) + 1
    return names


Make = Callable[[Path, ImageSet, Tensor], Path]

WHOLE: dict[str, Make] = {
    "folder with its PNGs in data": lambda f, t, p: _pngs(f / "tap", p, [f"data/{i}.png" for i in range(COUNT)]),
    "folder with its PNGs in another": lambda f, t, p: _pngs(f / "tap", p, [f"train/{i}.png" for i in range(COUNT)]),
    "class folders, index in the set": lambda f, t, p: _pngs(
        f / "a", p, [f"{int(label)}/{i}.png" for i, label in enumerate(t.labels)]
    ),
    "class folders, index in the class": lambda f, t, p: _pngs(f / "a", p, _in_class(t)),
    "named class folders in data": lambda f, t, p: _pngs(
        f / "a", p, [f"data/{'abcd'[int(label)]}/{i:05d}.png" for i, label in enumerate(t.labels)]
    ),
    "float64 0..255 NHWC": lambda f, t, p: _npy(f, p.permute(0, 2, 3, 1).double()),
    "float32 0..255 NCHW": lambda f, t, p: _npy(f, p.float()),
    "float32 0..1 undeclared": lambda f, t, p: _npy(f, p.float() / 255),
    "int64 0..255 NHWC": lambda f, t, p: _npy(f, p.permute(0, 2, 3, 1).long()),
    "list of tensors": lambda f, t, p: _torch(f, list(p)),
    "list of pairs": lambda f, t, p: _torch(f, list(zip(p, t.labels.tolist(), strict=True))),
    "list of pairs of tensors": lambda f, t, p: _torch(f, [list(pair) for pair in zip(p, t.labels, strict=True)]),
    "dict of tensors by index": lambda f, t, p: _torch(f, dict(reversed(list(enumerate(p))))),
    "named dict with labels": lambda f, t, p: _torch(f, {"noise": p.short() - t.images, "labels": t.labels}),
    "NumPy array saved by torch": lambda f, t, p: _torch(f, p.numpy()),
    "list of NumPy arrays saved by torch": lambda f, t, p: _torch(f, list(p.permute(0, 2, 3, 1).numpy())),
    "int8 noise": lambda f, t, p: _npy(f, (p.short() - t.images).to(torch.int8)),
    "float noise in whole levels": lambda f, t, p: _npy(f, (p.short() - t.images).float()),
    "float noise on the unit scale": lambda f, t, p: _torch(f, (p.short() - t.images).float() / 255),
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_what_is_published_is_read(train, make_context, tmp_path, make: Make) -> None:
    poisoned = _added(train.images, _levels())
    attack = FromFile(str(make(tmp_path, train, poisoned)))
    attack.check_fit(train)
    ctx = make_context()
    result, mask = craft(attack, train, ctx)
    assert torch.equal(result.images, poisoned)
    assert bool(mask.all())
    assert ctx.logs["images_in_file"] == f"{COUNT} of {COUNT}"


PART: dict[str, Make] = {
    "folder with index gaps": lambda f, t, p: _pngs(f / "a", p, [f"data/{i}.png" for i in HELD]),
    "class folders with gaps": lambda f, t, p: _pngs(f / "a", p, [f"{int(t.labels[i])}/{i}.png" for i in HELD]),
    "dict of tensors with gaps": lambda f, t, p: _torch(f, {int(i): image for i, image in zip(HELD, p, strict=True)}),
    "dict with indices": lambda f, t, p: _torch(f, {"images": p, "indices": HELD, "labels": t.labels[HELD]}),
    "dict with a mask": lambda f, t, p: _torch(
        f, {"noise": p.short() - t.images[HELD], "mask": torch.isin(torch.arange(COUNT), HELD)}
    ),
}


@pytest.mark.parametrize("make", PART.values(), ids=PART)
def test_a_part_of_the_set_is_poisoned_and_its_mask_kept(train, make_context, tmp_path, make: Make) -> None:
    poisoned = _added(train.images[HELD], _levels(len(HELD)))
    attack = FromFile(str(make(tmp_path, train, poisoned)))
    attack.check_fit(train)
    ctx = make_context()
    result, mask = craft(attack, train, ctx)
    assert mask.nonzero().flatten().tolist() == HELD.tolist()
    assert torch.equal(result.images[HELD], poisoned)
    assert torch.equal(result.images[~mask], train.images[~mask])
    assert ctx.logs["images_in_file"] == f"{len(HELD)} of {COUNT}"


def test_a_rate_and_classes_choose_among_the_images_that_are_there(train, make_context, tmp_path) -> None:
    path = PART["dict with indices"](tmp_path, train, _added(train.images[HELD], _levels(len(HELD))))
    _, mask = craft(FromFile(str(path), poison_rate=0.5), train, make_context())
    assert mask.sum() == 2
    assert set(mask.nonzero().flatten().tolist()) < set(HELD.tolist())
    _, mask = craft(FromFile(str(path), classes="0-1"), train, make_context())
    assert mask.nonzero().flatten().tolist() == [i for i in HELD.tolist() if train.labels[i] < 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda f, t, p: _torch(f, {"images": p, "indices": HELD + 1}),
            r"names positions 4\.\.60, but smooth has 0\.\.",
        ),
        (lambda f, t, p: _torch(f, {"images": p, "indices": HELD * 0}), "names a position twice"),
        (lambda f, t, p: _torch(f, {"images": p, "indices": HELD[1:]}), "has 5 entries, but 4 positions"),
        (lambda f, t, p: _npy(f, p), r"5 entries, the data set needs 60 \(sample-wise\); .* array 'indices' next to"),
        (
            lambda f, t, p: _torch(f, {"images": p, "indices": HELD, "labels": t.labels[HELD + -1]}),
            "its 'labels' differ",
        ),
        (lambda f, t, p: _pngs(f / "a", p, [f"0/{i}.png" for i in HELD]), "class 0 has only 20 images"),
        (lambda f, t, p: _pngs(f / "a", p, [f"7/{i}.png" for i in HELD]), "there is no class 7 of 4"),
        (lambda f, t, p: _pngs(f / "a", p, [f"{n}/0.png" for n in "vwxyz"]), "holds 5 folders, v, ...; name class"),
        (lambda f, t, p: (f / "a").mkdir() or f / "a", "holds no PNG image"),
    ],
)
def test_a_part_that_names_no_image_is_refused(train, tmp_path, make: Make, message: str) -> None:
    attack = FromFile(str(make(tmp_path, train, _added(train.images[HELD], _levels(len(HELD))))))
    with pytest.raises(UserError, match=message):
        attack.check_fit(train)


def _broken(train: ImageSet, value: float, count: int = 10, size: int = 8) -> Tensor:
    """Images in 0..1, of which so many of class 2 have one value."""
    images = _added(train.images, _levels(size=size)).double() / 255
    images[(train.labels == 2).nonzero().flatten()[:count]] = value
    return images


MISFITS: dict[str, tuple[Make, str]] = {
    "class of NaN": (
        lambda f, t, p: _npy(f, _broken(t, math.nan)),
        r"NaN or infinite, class 2: 10 of 10 .* leave such .* with classes=0-1/3",
    ),
    "black class": (
        lambda f, t, p: _pngs(f / "a", (_broken(t, 0) * 255).byte(), [f"data/{i}.png" for i in range(COUNT)]),
        r"is broken: images are black, class 2: 10 of 10 \(the first is image 0\); .* classes=0-1/3$",
    ),
    "partly NaN class": (
        lambda f, t, p: _npy(f, _broken(t, math.nan, 7)),
        r"NaN or infinite, class 2: 7 of 10 \(the first is image 0\); .* classes=0-1/3$",
    ),
    "partly black class": (
        lambda f, t, p: _npy(f, (_broken(t, 0, 7) * 255).byte()),
        r"is broken: images are black, class 2: 7 of 10 \(the first is image 0\); .* classes=0-1/3$",
    ),
    "black images and a larger radius": (
        lambda f, t, p: _npy(f, (_broken(t, 0, 7, size=16) * 255).round().byte()),
        r"class 2: 7 of 10 .* The rest exceeds its budget linf:8/255 .* linf at most 16/255, .* norm=linf:eps=16/255",
    ),
    "black images and another order": (
        lambda f, t, p: _npy(f, (_broken(t, 0, 7) * 255).byte().roll(7, 0)),
        r"is broken: images are black, .* The rest does not fit smooth: .* in another order",
    ),
    "gray class": (lambda f, t, p: _npy(f, _broken(t, 0.5)), "images are of one color, class 2: 10 of 10"),
    "sorted by class": (
        lambda f, t, p: _npy(f, p[t.labels.argsort(stable=True)]),
        r"unlike the clean images at their positions .* another order, sorted by class .* put them back",
    ),
    "listed as text": (
        lambda f, t, p: _npy(f, p[sorted(range(COUNT), key=str)]),
        "they were listed as text: 0, 1, 10, 100",
    ),
    "another order": (
        lambda f, t, p: _npy(f, p.roll(7, 0)),
        r"another order \(the poison at position \d+ belongs to image \d+",
    ),
    "another set": (lambda f, t, p: _npy(f, _strangers()), "they are images of another data set"),
    "BGR": (lambda f, t, p: _npy(f, p.flip(1)), "channels are in reverse order"),
    "mirrored": (lambda f, t, p: _npy(f, p.flip(3)), "they are mirrored"),
    "upside down": (lambda f, t, p: _npy(f, p.flip(2)), "they stand upside down"),
    "transposed": (lambda f, t, p: _npy(f, p.transpose(2, 3)), "height and width are exchanged"),
    "NHWC reshaped to NCHW": (
        lambda f, t, p: _npy(f, p.permute(0, 2, 3, 1).reshape(p.shape)),
        r"reshaped where they should have been transposed; use transpose\(0, 3, 1, 2\)",
    ),
    "NCHW reshaped to NHWC": (
        lambda f, t, p: _npy(f, p.reshape(COUNT, 12, 12, 3)),
        r"reshaped where they should have been transposed; use transpose\(0, 2, 3, 1\)",
    ),
    "inverted": (lambda f, t, p: _npy(f, 255 - p), "they are inverted"),
    "normalized": (lambda f, t, p: _npy(f, (p.float() / 255 - 0.5) / 0.5), "these are normalized images"),
    "labels sorted by class": (
        lambda f, t, p: _torch(f, {"images": p, "labels": t.labels.sort().values}),
        "its 'labels' differ from the labels of smooth; they are sorted by class",
    ),
    "pairs with labels of another order": (
        lambda f, t, p: _torch(f, list(zip(p, t.labels.flip(0).tolist(), strict=True))),
        "its 'labels' differ from the labels of smooth; it is of another data set or in another order",
    ),
    "class noise sorted by class": (
        lambda f, t, p: _npy(f, _levels(CLASSES)[t.labels.sort().values].to(torch.int8)),
        r"one pattern per class makes up 0\.\d+ of its noise in the order of smooth, but (0\.9\d|1\.00) if .* sorted",
    ),
    "L2 poison under the default norm": (
        lambda f, t, p: _npy(f, _l2_levels() / 255),
        r"exceeds its budget linf:8/255 .* l2 at most \d\.\d+ \(mean .* it looks like an L2 poison: set norm=l2:eps=1$",
    ),
    "16/255 under the default radius": (
        lambda f, t, p: _npy(f, _levels(size=16).to(torch.int8)),
        r"measured: linf at most 16/255, .* set norm=linf:eps=16/255",
    ),
    "one pixel": (lambda f, t, p: _npy(f, _one_pixel(t.images)), r"l0 at most 1 pixels; .* set norm=l0:eps=1"),
    "the clean images": (lambda f, t, p: _npy(f, t.images), "changes none of the images of smooth"),
}


def _strangers() -> Tensor:
    generator = torch.Generator().manual_seed(99)
    return torch.randint(0, 256, (COUNT, *SHAPE), generator=generator, dtype=torch.uint8)


def _one_pixel(images: Tensor) -> Tensor:
    changed = images.clone()
    changed[:, :, 3, 4] = 255 - images[:, :, 3, 4].round()
    changed[:, 0, 3, 4] = torch.where(images[:, 0, 3, 4] > 127, 0, 255).to(torch.uint8)
    return changed


@pytest.mark.parametrize(("make", "message"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_explained(train, tmp_path, make: Make, message: str) -> None:
    path = make(tmp_path, train, _added(train.images, _levels()))
    with pytest.raises(UserError, match=message) as refused:
        FromFile(str(path)).check_fit(train)
    assert str(path) in str(refused.value)


def test_the_settings_an_error_suggests_work(train, make_context, tmp_path) -> None:
    for name, settings in (
        ("L2 poison under the default norm", {"norm": "l2", "eps": 1.0}),
        ("16/255 under the default radius", {"norm": "linf", "eps": 16 / 255}),
        ("one pixel", {"norm": "l0", "eps": 1}),
        ("class of NaN", {"classes": "0-1/3"}),
        ("black class", {"classes": "0-1/3"}),
        ("partly black class", {"classes": "0-1/3"}),
    ):
        path = str(MISFITS[name][0](tmp_path, train, _added(train.images, _levels())))
        attack = FromFile(path, **settings)
        attack.check_fit(train)
        result, mask = craft(attack, train, make_context())
        assert bool((result.images[mask] != train.images[mask]).any()), name
        assert torch.equal(result.images[~mask], train.images[~mask]), name


def test_class_sorted_images_go_back_by_the_line_of_the_error(train, make_context, tmp_path) -> None:
    poisoned = _added(train.images, _levels())
    array, labels = poisoned[train.labels.argsort(stable=True)].numpy(), train.labels.numpy()
    fixed = np.empty_like(array)
    fixed[np.argsort(labels, kind="stable")] = array
    np.save(tmp_path / "fixed.npy", fixed)
    attack = FromFile(str(tmp_path / "fixed.npy"))
    assert torch.equal(attack.poison(train, make_context()).images, poisoned)


@pytest.mark.parametrize(
    ("levels", "wise"),
    [(_levels(CLASSES)[LABELS], "one pattern per class"), (_levels(), "a pattern for each image")],
    ids=["class-wise in truth", "sample-wise"],
)
def test_a_sample_wise_file_says_whether_it_is_class_wise(train, make_context, tmp_path, levels, wise: str) -> None:
    middle = replace(train, images=train.images // 2 + 64)  # nothing clips
    ctx = make_context()
    FromFile(str(_npy(tmp_path, levels.to(torch.int8)))).poison(middle, ctx)
    assert str(ctx.logs["wise"]).startswith(wise)


@pytest.mark.parametrize(
    ("values", "content"),
    [
        (lambda t, p: p.float() / 255, r"images on 0\.\.1, sample-wise, of float32: correlation [01].\d\d with"),
        (lambda t, p: (p.short() - t.images).float().abs() / 255, r"noise on -1\.\.1, sample-wise, of float32"),
        (lambda t, p: _levels(CLASSES).float() / 255, r"noise on -1\.\.1, class-wise, .* one entry for each class"),
    ],
)
def test_images_and_noise_are_told_apart_and_it_is_logged(train, make_context, tmp_path, values, content: str) -> None:
    ctx = make_context()
    path = _npy(tmp_path, values(train, _added(train.images, _levels())))
    FromFile(str(path)).poison(train, ctx)
    assert re.match(content, str(ctx.logs["content"])), ctx.logs["content"]


@pytest.mark.parametrize(
    "content", [np.ones((60, 3, 12, 12), np.int8), {"noise": np.ones(3)}, _levels()], ids=["array", "dict", "tensor"]
)
def test_a_pickle_is_refused_with_a_conversion(tmp_path, content: object) -> None:
    path = tmp_path / "rem.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"rem\.pkl: is a pickle and is never unpickled.*at your own risk") as refused:
        FromFile(str(path))
    assert [line[:4] for line in str(refused.value).splitlines()[1:]] == ["    "] * 3


def _blurred(images: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(images.double(), 5, stride=1, padding=2, count_include_pad=False).byte()


def _recolored(images: Tensor) -> Tensor:
    mixed = images.double().mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return (mixed * torch.tensor([0.3, 0.9, 0.6])[:, None, None]).byte()


UNBOUNDED = {"blurred": _blurred, "recolored": _recolored, "inverted in one image": lambda x: _inverted(x, 1)}


def _inverted(images: Tensor, count: int) -> Tensor:
    return torch.cat([255 - images[:count], images[count:] // 2])


@pytest.mark.parametrize("change", UNBOUNDED.values(), ids=UNBOUNDED)
def test_a_poison_without_a_bound_is_taken_with_norm_none(train, make_context, tmp_path, change) -> None:
    path = str(_npy(tmp_path, change(train.images)))
    with pytest.raises(UserError, match=r"exceeds its budget linf:8/255|does not fit"):
        FromFile(path).check_fit(train)
    attack = FromFile(path, norm="none")
    attack.check_fit(train)
    assert torch.equal(attack.poison(train, make_context()).images, change(train.images))
    assert str(attack.budget) == "no norm bound"


FOREIGN = [
    "black class",
    "partly black class",
    "gray class",
    "class of NaN",
    "partly NaN class",
    "sorted by class",
    "listed as text",
    "another order",
]
FOREIGN += ["another set", "BGR", "mirrored", "upside down", "transposed", "NHWC reshaped to NCHW", "inverted"]


@pytest.mark.parametrize("name", FOREIGN)
def test_norm_none_still_finds_broken_classes_and_another_order(train, tmp_path, name: str) -> None:
    make, _ = MISFITS[name]
    path = make(tmp_path, train, _added(train.images, _levels()))
    with pytest.raises(UserError, match=re.escape(str(path))):
        FromFile(str(path), norm="none").check_fit(train)


def test_norm_none_notes_single_constant_images_and_leaves_them_out(train, make_context, tmp_path) -> None:
    ctx = make_context()
    FromFile(str(_npy(tmp_path, (_broken(train, 0, 3) * 255).byte())), norm="none").poison(train, ctx)
    assert ctx.logs["constant_images"] == "class 2: 3 of 10 (the first is image 0)"


@pytest.mark.parametrize("change", [_blurred, _recolored])
def test_norm_none_finds_another_order_of_heavily_changed_images(train, tmp_path, change) -> None:
    with pytest.raises(UserError, match=r"another order|another data set"):
        FromFile(str(_npy(tmp_path, change(train.images).roll(7, 0))), norm="none").check_fit(train)


def test_norm_none_finds_one_class_in_another_order(train, tmp_path) -> None:
    images = _added(train.images, _levels())
    rows = (train.labels == 1).nonzero().flatten()
    images[rows] = images[rows.roll(3)]
    with pytest.raises(UserError, match=r"images of class 1, .* unlike the clean images .* another order"):
        FromFile(str(_npy(tmp_path, images)), norm="none").check_fit(train)


EYE = torch.eye(CLASSES)
LABEL_FORMS: dict[str, tuple[Tensor, str]] = {
    "plain": (LABELS, ""),
    "int32": (LABELS.int(), ""),
    "(N, 1)": (LABELS[:, None], r"shape \(60, 1\) were read as"),
    "one-hot": (EYE[LABELS], "one-hot labels"),
    "one-hot bool": (EYE[LABELS].bool(), "one-hot labels"),
    "float": (LABELS.float(), "whole numbers"),
    "bfloat16": (LABELS.bfloat16(), "whole numbers"),
    "from one": (LABELS + 1, "count classes from 1"),
}


@pytest.mark.parametrize("suffix", ["npz", "pt"])
@pytest.mark.parametrize(("labels", "note"), LABEL_FORMS.values(), ids=LABEL_FORMS)
def test_labels_next_to_the_images_are_read_in_every_form(train, make_context, tmp_path, suffix, labels, note) -> None:
    poisoned = _added(train.images, _levels())
    path = tmp_path / f"poison.{suffix}"
    if suffix == "npz":
        labels = labels.float() if labels.dtype == torch.bfloat16 else labels
        np.savez(path, images=poisoned.numpy(), labels=labels.numpy())
    else:
        torch.save({"images": poisoned, "labels": labels}, path)
    ctx = make_context()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert torch.equal(FromFile(str(path)).poison(train, ctx).images, poisoned)
    assert bool(said) == bool(note) == ("read_as" in ctx.logs)
    assert re.search(note, str(ctx.logs.get("read_as", "")))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"labels": EYE[LABELS.flip(0)]}, "'labels' differ from the labels of smooth"),
        ({"labels": LABELS + 0.5}, "'labels': label 2.5 of image 0 is no class number"),
        ({"labels": 0.5 * EYE[LABELS] + 0.125}, "soft or several labels per image are not supported"),
        ({"indices": torch.arange(COUNT) + 0.5}, "'indices' must hold the position of each entry as a whole number"),
        ({"indices": torch.arange(COUNT) + 1}, "names positions 1..60, .* if they count from 1, subtract 1"),
        ({"indices": torch.ones(COUNT, dtype=torch.bool)}, "a truth value for each image is a 'mask'"),
    ],
)
def test_labels_and_positions_that_cannot_be_meant_are_refused(train, tmp_path, named, message: str) -> None:
    path = _torch(tmp_path, {"images": _added(train.images, _levels()), **named})
    with pytest.raises(UserError, match=message) as refused:
        FromFile(str(path)).check_fit(train)
    assert str(path) in str(refused.value)


def test_positions_in_a_column_and_masks_in_npz_are_read(train, make_context, tmp_path) -> None:
    poisoned = _added(train.images[HELD], _levels(len(HELD)))
    mask = torch.isin(torch.arange(COUNT), HELD)
    np.savez(tmp_path / "mask.npz", images=poisoned.numpy(), mask=mask.numpy())
    np.savez(tmp_path / "column.npz", images=poisoned.numpy(), indices=HELD[:, None].double().numpy())
    for name in ("mask", "column"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result, poisoned_mask = craft(FromFile(str(tmp_path / f"{name}.npz")), train, make_context())
        assert torch.equal(poisoned_mask, mask)
        assert torch.equal(result.images[HELD], poisoned)
