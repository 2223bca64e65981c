import io
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from attacks.from_file import FromFile
from bench.errors import UserError


def _npy(folder: Path, values: Tensor, name: str = "poison.npy") -> str:
    np.save(folder / name, values.numpy())
    return str(folder / name)


def _noise(shape: tuple[int, ...], levels: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(-levels, levels + 1, shape, generator=generator, dtype=torch.int8)


def _added(images: Tensor, levels: Tensor) -> Tensor:
    return (images.to(torch.int16) + levels).clamp(0, 255).to(torch.uint8)


@pytest.fixture
def train(smooth_set):
    return smooth_set(count=12, classes=4, shape=(3, 6, 5))


@pytest.fixture
def poisoned(train) -> Tensor:
    return _added(train.images, _noise(tuple(train.images.shape)))


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt", "pth"])
def test_images_are_read_from_every_format(train, poisoned, make_context, tmp_path, suffix: str) -> None:
    path = tmp_path / f"poison.{suffix}"
    if suffix == "npy":
        np.save(path, poisoned.numpy())
    elif suffix == "npz":
        np.savez(path, images=poisoned.numpy(), labels=train.labels.numpy(), meta=np.array("{}"))
    elif suffix == "safetensors":
        save_file({"images": poisoned}, path)
    else:
        torch.save(poisoned if suffix == "pt" else {"images": poisoned, "epoch": 3}, path)
    result = FromFile(str(path)).poison(train, make_context())
    assert torch.equal(result.images, poisoned)
    assert result.labels is train.labels


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_layout_is_recognised_and_float_images_are_rounded(
    train, poisoned, make_context, tmp_path, layout: str, dtype: torch.dtype
) -> None:
    values = poisoned if dtype == torch.uint8 else (poisoned.double() / 255).to(dtype)
    values = values.permute(0, 2, 3, 1).contiguous() if layout == "NHWC" else values
    attack = FromFile(_npy(tmp_path, values), content="images")
    assert torch.equal(attack.poison(train, make_context()).images, poisoned)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32, torch.float64])
@pytest.mark.parametrize("wise", ["sample", "class"])
def test_signed_noise_is_added_first_and_clipped_after(
    train, make_context, tmp_path, wise: str, dtype: torch.dtype
) -> None:
    levels = _noise((len(train) if wise == "sample" else 4, 3, 6, 5), levels=100)
    values = levels.to(dtype) / 255 if dtype.is_floating_point else levels.to(dtype)
    expected = _added(train.images, levels if wise == "sample" else levels[train.labels])
    attack = FromFile(_npy(tmp_path, values), eps=100 / 255)
    assert torch.equal(attack.poison(train, make_context()).images, expected)


def test_a_class_wise_file_serves_a_chunk_and_a_permuted_layout(train, make_context, tmp_path) -> None:
    levels = _noise((4, 3, 6, 5))
    attack = FromFile(_npy(tmp_path, levels.permute(0, 2, 3, 1).contiguous()))
    assert torch.equal(attack.poison(train, make_context()).images, _added(train.images, levels[train.labels]))


def test_as_many_images_as_classes_needs_wise(smooth_set, make_context, tmp_path) -> None:
    few = smooth_set(count=3, classes=3, shape=(3, 6, 5), labels=torch.tensor([2, 0, 0]))
    levels = _noise((3, 3, 6, 5))
    path = _npy(tmp_path, levels)
    with pytest.raises(UserError, match="fits both; set wise=sample or class"):
        FromFile(path).poison(few, make_context())
    by_sample, by_class = (FromFile(path, wise=wise).poison(few, make_context()) for wise in ("sample", "class"))
    assert torch.equal(by_sample.images, _added(few.images, levels))
    assert torch.equal(by_class.images, _added(few.images, levels[few.labels]))


def _write_pngs(folder: Path, images: Tensor, names: list[str]) -> None:
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)


@pytest.mark.parametrize("pattern", ["{}.png", "img_{:05d}.png", "cifar10-{}.PNG"])
def test_png_names_are_sorted_as_numbers(train, poisoned, make_context, tmp_path, pattern: str) -> None:
    _write_pngs(tmp_path, poisoned, [pattern.format(index) for index in range(12)])
    (tmp_path / "README.txt").write_text("not an image")
    assert torch.equal(FromFile(str(tmp_path)).poison(train, make_context()).images, poisoned)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"{index}.png" for index in (*range(5), *range(6, 13))], r"12 is too large \(12 files\)"),
        ([f"{index}.png" for index in (*range(1, 6), *range(7, 13), 14)], r"14 is too large \(12 files\)$"),
        ([f"{index}.png" for index in range(11)] + ["x.png"], "x.png has no number in its name"),
        ([f"{index}.png" for index in range(11)] + ["a0.png"], "have one index"),
    ],
)
def test_png_names_that_name_no_image_are_refused(
    train, poisoned, make_context, tmp_path, names: list[str], message: str
) -> None:
    _write_pngs(tmp_path, poisoned, names)
    with pytest.raises(UserError, match=message):
        FromFile(str(tmp_path)).poison(train, make_context())


def test_more_pngs_than_images_are_refused(train, poisoned, make_context, tmp_path) -> None:
    _write_pngs(tmp_path, torch.cat([poisoned, poisoned[:1]]), [f"{index}.png" for index in range(13)])
    with pytest.raises(UserError, match=r"0\.\.11, but 12 is too large \(13 files\)"):
        FromFile(str(tmp_path)).poison(train, make_context())


def test_pngs_of_another_size_or_mode_are_refused(train, poisoned, make_context, tmp_path) -> None:
    _write_pngs(tmp_path, poisoned, [f"{index}.png" for index in range(12)])
    Image.new("RGBA", (5, 6)).save(tmp_path / "3.png")
    with pytest.raises(UserError, match=r"3\.png is RGBA 5x6 and partly transparent, but smooth needs 8-bit RGB 5x6"):
        FromFile(str(tmp_path)).poison(train, make_context())


def test_gray_pngs_serve_gray_sets(smooth_set, make_context, tmp_path) -> None:
    gray = smooth_set(count=3, classes=2, shape=(1, 7, 9))
    poisoned = _added(gray.images, _noise(tuple(gray.images.shape)))
    for index, image in enumerate(poisoned):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{index}.png")
    assert torch.equal(FromFile(str(tmp_path)).poison(gray, make_context()).images, poisoned)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.rand(12, 3, 6, 5), "may be images or noise; set content="),
        (torch.full((12, 3, 6, 5), -1.5), r"noise as torch.float32 must lie in -1..1, found -1.5"),
        (torch.full((12, 3, 6, 5), math.nan), "NaN or infinite"),
        (torch.full((12, 3, 6, 5), -math.inf), "NaN or infinite"),
        (torch.full((12, 3, 6, 5), 300, dtype=torch.int16), "must lie in -255..255"),
        (torch.zeros(11, 3, 6, 5, dtype=torch.int8), r"11 entries, the data set needs 12 \(sample-wise\) or 4 "),
        (torch.zeros(4, 3, 6, 5, dtype=torch.uint8), r"4 entries, the data set needs 12 \(sample-wise\); if"),
        (torch.zeros(12, 3, 5, 6, dtype=torch.uint8), r"needs \(N, 3, 6, 5\) or \(N, 6, 5, 3\)"),
        (torch.zeros(12, 90, dtype=torch.uint8), r"holds \(12, 90\)"),
        (torch.zeros(12, 3, 6, 5, dtype=torch.bool), "cannot import torch.bool"),
    ],
)
def test_contents_that_do_not_fit_are_refused(train, make_context, tmp_path, values: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FromFile(_npy(tmp_path, values)).poison(train, make_context())


@pytest.mark.parametrize(
    ("content", "values", "message"),
    [
        ("noise", torch.zeros(12, 3, 6, 5, dtype=torch.uint8), "uint8 cannot hold signed noise"),
        ("images", torch.zeros(12, 3, 6, 5, dtype=torch.int8), "export images as uint8"),
        ("images", torch.full((12, 3, 6, 5), 256.0), "images as torch.float32 must lie in 0..1"),
    ],
)
def test_a_declared_content_must_fit_the_type(
    train, make_context, tmp_path, content: str, values: Tensor, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        FromFile(_npy(tmp_path, values), content=content).poison(train, make_context())


def test_positive_noise_needs_to_be_declared(train, make_context, tmp_path) -> None:
    levels = _noise((12, 3, 6, 5)).abs()
    attack = FromFile(_npy(tmp_path, levels.float() / 255), content="noise")
    assert torch.equal(attack.poison(train, make_context()).images, _added(train.images, levels))


def test_several_arrays_need_a_name(train, poisoned, make_context, tmp_path) -> None:
    path = tmp_path / "poison.npz"
    np.savez(path, first=poisoned.numpy(), second=train.images.numpy())
    with pytest.raises(UserError, match="choose one with array=: first, second"):
        FromFile(str(path)).poison(train, make_context())
    with pytest.raises(UserError, match="no array 'third'; it has: first, second"):
        FromFile(str(path), array="third").poison(train, make_context())
    assert torch.equal(FromFile(str(path), array="first").poison(train, make_context()).images, poisoned)


def test_labels_beside_the_images_must_agree(train, poisoned, make_context, tmp_path) -> None:
    path = tmp_path / "poison.npz"
    np.savez(path, x_train=poisoned.numpy(), y_train=train.labels.flip(0).numpy())
    with pytest.raises(UserError, match="its 'y_train' differ from the labels of smooth"):
        FromFile(str(path)).poison(train, make_context())


class _Marker:
    ran = False

    def __reduce__(self) -> tuple[object, ...]:
        return (setattr, (_Marker, "ran", True))


@pytest.mark.parametrize("suffix", ["pt", "npy", "npz"])
def test_nothing_is_unpickled(train, make_context, tmp_path, suffix: str) -> None:
    path = tmp_path / f"poison.{suffix}"
    if suffix == "pt":
        torch.save({"images": _Marker()}, path)
    elif suffix == "npy":
        np.save(path, np.array([_Marker()], dtype=object), allow_pickle=True)
    else:
        np.savez(path, images=np.array([_Marker()], dtype=object))
    with pytest.raises(UserError, match=r"poison\.(pt|npy|npz): holds Python objects .* and is never unpickled"):
        FromFile(str(path)).poison(train, make_context())
    assert not _Marker.ran


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt"])
@pytest.mark.parametrize("content", [b"", b"not a tensor file at all", pickle.dumps({"a": io.BytesIO()})])
def test_damaged_files_are_user_errors(train, make_context, tmp_path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"poison.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"poison.{suffix}"):
        FromFile(str(path)).poison(train, make_context())


def test_the_digest_follows_content_and_names(poisoned, tmp_path) -> None:
    file, other = _npy(tmp_path, poisoned), _npy(tmp_path, 255 - poisoned, "other.npy")
    assert FromFile(file).content_digest() == FromFile(file).content_digest()
    assert FromFile(file).content_digest() != FromFile(other).content_digest()
    folder = tmp_path / "folder"
    folder.mkdir()
    _write_pngs(folder, poisoned[:2], ["0.png", "1.png"])
    before = FromFile(str(folder)).content_digest()
    (folder / "0.png").rename(folder / "2.png")
    (folder / "1.png").rename(folder / "0.png")
    (folder / "2.png").rename(folder / "1.png")
    swapped = FromFile(str(folder)).content_digest()
    (folder / "1.png").rename(folder / "7.png")
    assert len({before, swapped, FromFile(str(folder)).content_digest()}) == 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"path": "nowhere/poison.npy"}, "'nowhere/poison.npy' does not exist"),
        ({"content": "pixels"}, "content must be one of auto, images, noise"),
        ({"wise": "pixel"}, "wise must be one of"),
        ({"content": "images", "wise": "class"}, "wise=class is for noise"),
        ({"eps": 8.0}, "write eps=8/255"),
        ({"eps": 0.0}, "eps must be > 0"),
        ({"craft_on": "subset"}, "craft_on must be all"),
        ({"norm": "l1"}, "norm must be"),
        ({"norm": "none", "eps": 1.0}, "norm=none has no radius; leave out eps"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, extra: dict[str, object], message: str) -> None:
    path = _npy(tmp_path, torch.zeros(1))
    with pytest.raises(ValueError, match=message):
        _ = FromFile(**{"path": path, **extra}).budget


def test_a_folder_takes_no_settings_for_arrays(tmp_path) -> None:
    with pytest.raises(ValueError, match="folder of whole images"):
        FromFile(str(tmp_path), content="noise")
    (tmp_path / "poison.csv").touch()
    with pytest.raises(ValueError, match=r"folder of PNG images or a file of type \.npy"):
        FromFile(str(tmp_path / "poison.csv"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 9), height=st.integers(1, 6), width=st.integers(1, 6), classes=st.integers(2, 5))
def test_every_size_round_trips(smooth_set, make_context, tmp_path, count, height, width, classes) -> None:
    clean = smooth_set(count=count, classes=classes, shape=(3, height, width))
    levels = _noise((count, 3, height, width))
    attack = FromFile(_npy(tmp_path, levels), wise="sample")
    assert torch.equal(attack.poison(clean, make_context()).images, _added(clean.images, levels))
