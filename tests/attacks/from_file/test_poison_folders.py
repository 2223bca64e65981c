"""Folders of images as people have them: each case makes its folder, and says what becomes of it."""

from collections.abc import Callable
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

COUNT, CLASSES, SHAPE = 24, 4, (3, 12, 10)
LABELS = torch.tensor([2, 0, 3, 1, 1, 0] * 4)
Change = Callable[[Path], object]


@pytest.fixture
def train(smooth_set) -> ImageSet:
    return smooth_set(count=COUNT, classes=CLASSES, shape=SHAPE, labels=LABELS)


@pytest.fixture
def poisoned(train) -> Tensor:
    levels = torch.randint(-8, 9, (COUNT, *SHAPE), generator=torch.Generator().manual_seed(3), dtype=torch.int16)
    return (train.images.to(torch.int16) + levels).clamp(0, 255).to(torch.uint8)


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def _write(folder: Path, images: Tensor, names: list[str]) -> Path:
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(image).save(folder / name)
    return folder


def _in_class(start: int) -> list[str]:
    seen = [start] * CLASSES
    names = []
    for label in LABELS.tolist():
        names.append(f"{label}/{seen[label]}.png")
        seen[label] += 1
    return names


NAMES: dict[str, tuple[list[str], str]] = {
    "suffix": ([f"{i}_adv.png" for i in range(COUNT)], r"as image \d+$"),
    "number, then label": (
        [f"{i:05d}_{label}.png" for i, label in enumerate(LABELS)],
        r"000\d\d_\d.png as image \d+$",
    ),
    "number of the set, then its own, then a suffix": ([f"cifar10-{i}_p.png" for i in range(COUNT)], r"as image \d+$"),
    "from one": ([f"{i + 1}.png" for i in range(COUNT)], "read numbers from 1 as images from 0"),
    "from one with a suffix": ([f"{i + 1}_adv.png" for i in range(COUNT)], "as image .*, numbers from 1"),
    "class folders, in the set from one": (
        [f"{label}/{i + 1}.png" for i, label in enumerate(LABELS)],
        "numbers from 1",
    ),
    "class folders, in the class from one": (_in_class(1), "numbers from 1 as images from 0"),
    "class folders with suffixes": ([name.replace(".png", "_adv.png") for name in _in_class(0)], "as image"),
}


@pytest.mark.parametrize(("names", "note"), NAMES.values(), ids=NAMES)
def test_names_are_read_and_a_note_says_how(train, poisoned, make_context, tmp_path, names, note: str) -> None:
    attack = FromFile(str(_write(tmp_path / "a", poisoned, names)))
    attack.check_fit(train)
    ctx = make_context()
    with pytest.warns(UserWarning, match=note):
        assert torch.equal(attack.poison(train, ctx).images, poisoned)
    assert str(tmp_path) in str(ctx.logs["read_as"])


def test_plain_names_need_no_note(train, poisoned, make_context, tmp_path) -> None:
    ctx = make_context()
    FromFile(str(_write(tmp_path, poisoned, [f"{i}.png" for i in range(COUNT)]))).poison(train, ctx)
    assert "read_as" not in ctx.logs


REFUSED_NAMES: dict[str, tuple[list[str], str]] = {
    "part, from one": ([f"{i + 1}.png" for i in range(4, COUNT)], "24 is too large .* if they count from 1, rename"),
    "part, from one, within": ([f"{i + 1}.png" for i in range(20)], "they count from 1 .* subtract 1"),
    "two endings": ([f"{i}_{'ab'[i % 2]}.png" for i in range(COUNT)], r"end differently, 0_a\.png and \d+_b\.png"),
    "two numbers": ([f"{i}_{i + 1}.png" for i in range(COUNT)], r"may be image \d+ or \d+; name the images 0.png"),
    "one number for two": ([f"{i // 2}{'ab'[i % 2]}_7.png" for i in range(COUNT)], "have one index"),
    "classes from one": ([f"{int(label) + 1}/{i}.png" for i, label in enumerate(LABELS)], "if they count from 1"),
}


@pytest.mark.parametrize(("names", "message"), REFUSED_NAMES.values(), ids=REFUSED_NAMES)
def test_names_that_leave_it_open_are_refused(train, poisoned, tmp_path, names, message: str) -> None:
    chosen = poisoned[4:] if len(names) == 20 and "too large" in message else poisoned[: len(names)]
    with pytest.raises(UserError, match=message):
        FromFile(str(_write(tmp_path / "a", chosen, names))).check_fit(train)


def _dotted(folder: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png", "._3.png", "__MACOSX/._3.png", ".git/9.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7 litter")


@pytest.mark.parametrize("inside", ["", "2/"])
def test_litter_is_ignored_and_changes_no_digest(train, poisoned, make_context, tmp_path, inside: str) -> None:
    names = _in_class(0) if inside else [f"{i}.png" for i in range(COUNT)]
    attack = FromFile(str(_write(tmp_path / "a", poisoned, names)))
    before = attack.content_digest()
    _dotted(tmp_path / "a")
    _dotted(tmp_path / "a" / inside)
    assert torch.equal(attack.poison(train, make_context()).images, poisoned)
    assert attack.content_digest() == before


def _as_palette(image: Image.Image) -> Image.Image:
    colors, index = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True)
    palette = Image.fromarray(index.reshape(image.height, image.width).astype(np.uint8), "P")
    palette.putpalette(colors.astype(np.uint8).tobytes())
    return palette


def _gray(image: Image.Image) -> Image.Image:
    return image.convert("L")


LOSSLESS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "opaque alpha": lambda image: image.convert("RGBA"),
    "palette": _as_palette,
    "gray": _gray,
    "gray with opaque alpha": lambda image: _gray(image).convert("LA"),
}


@pytest.mark.parametrize("convert", LOSSLESS.values(), ids=LOSSLESS)
def test_what_loses_nothing_is_converted(train, poisoned, make_context, tmp_path, convert) -> None:
    _write(tmp_path, poisoned, [f"{i}.png" for i in range(COUNT)])
    stored = convert(_picture(poisoned[3]))
    stored.save(tmp_path / "3.png")
    result = FromFile(str(tmp_path), norm="none").poison(train, make_context()).images
    expected = np.asarray(stored.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(result[3].numpy(), expected)
    if "gray" not in str(convert) and stored.mode in ("RGBA", "P"):
        assert torch.equal(result, poisoned)


def test_gray_sets_take_colored_files_without_color(smooth_set, make_context, tmp_path) -> None:
    gray = smooth_set(count=3, classes=2, shape=(1, 7, 9))
    images = gray.images.clamp(0, 250) + 3
    for index, image in enumerate(images):
        Image.fromarray(image[0].numpy()).convert("RGB").save(tmp_path / f"{index}.png")
    assert torch.equal(FromFile(str(tmp_path)).poison(gray, make_context()).images, images)
    colored = Image.fromarray(images[1][0].numpy()).convert("RGB")
    colored.putpixel((0, 0), (1, 2, 3))
    colored.save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png is RGB 9x7 and has colors, but smooth needs 8-bit L 9x7"):
        FromFile(str(tmp_path)).check_fit(gray)


def _half_transparent(path: Path) -> None:
    image = Image.open(path).convert("RGBA")
    image.putpixel((0, 0), (1, 2, 3, 254))
    image.save(path)


def _transparent_color(path: Path) -> None:
    image = Image.open(path)
    image.load()
    image.save(path, transparency=image.getpixel((0, 0)))


def _flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 16
    path.write_bytes(content)


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


AGAIN = "copy or unpack it again"
DAMAGE: dict[str, tuple[Change, str]] = {
    "empty": (lambda f: f.write_bytes(b""), rf"cannot be read \(it is empty or no image\); {AGAIN}"),
    "text": (lambda f: f.write_bytes(b"<html>404</html>"), "it is empty or no image"),
    "a Git LFS pointer": (
        lambda f: f.write_bytes(b"version https://git-lfs.github.com/spec/v1"),
        "is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`",
    ),
    "half": (lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 2]), rf"cannot be read \(.*\); {AGAIN}"),
    "without its end": (lambda f: f.write_bytes(f.read_bytes()[:-20]), rf"cannot be read \(.*\); {AGAIN}"),
    "a bit of its head": (lambda f: _flip(f, 0.04), "cannot be read"),
    "a bit of its pixels": (lambda f: _flip(f, 0.5), "cannot be read"),
    "a bit of its checksum": (lambda f: _flip(f, 0.97), "cannot be read"),
    "transparent": (_half_transparent, "is RGBA 10x12 and partly transparent, .* save the opaque images"),
    "a transparent color": (_transparent_color, "partly transparent"),
    "16 bits": (
        lambda f: Image.fromarray(np.zeros((12, 10), np.uint16)).save(f),
        "16 bits a channel, .* convert it to 8 bits",
    ),
    "another size": (lambda f: Image.new("RGB", (12, 10)).save(f), "is RGB 12x10, .* resizing would change the poison"),
    "a JPEG in truth": (
        lambda f: Image.open(f).save(f, "JPEG"),
        "is a JPEG file that is called PNG; its poison is gone",
    ),
    "a BMP in truth": (lambda f: Image.open(f).save(f, "BMP"), "is a BMP file that is called PNG; convert it without"),
    "a link to nowhere": (lambda f: _link(f, "/nowhere/3.png"), "is a link to /nowhere/3.png, which is not there"),
    "a folder": (_folder, "is a folder, but it is called like an image"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("inside", ["", "1/"], ids=["flat", "class folders"])
def test_one_bad_file_is_named_with_the_remedy(train, poisoned, tmp_path, damage: Change, message: str, inside) -> None:
    names = _in_class(0) if inside else [f"{i}.png" for i in range(COUNT)]
    _write(tmp_path / "a", poisoned, names)
    path = tmp_path / "a" / f"{inside}3.png"
    damage(path)
    with pytest.raises(UserError, match=message) as refused:
        FromFile(str(tmp_path / "a")).check_fit(train)
    assert str(path) in str(refused.value)


def _jpegs(folder: Path, images: Tensor, names: list[str]) -> None:
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(image).save(folder / name, quality=95)


def test_folders_of_jpeg_images_are_refused_with_the_reason(train, poisoned, tmp_path) -> None:
    _jpegs(tmp_path / "flat", poisoned, [f"{i}.jpg" for i in range(COUNT)])
    _jpegs(tmp_path / "classes", poisoned, [name.replace("png", "JPEG") for name in _in_class(0)])
    for name in ("flat", "classes"):
        with pytest.raises(
            UserError, match=r"no PNG images and 24 JPEG images: .* their poison is gone, .* as an array"
        ):
            FromFile(str(tmp_path / name)).check_fit(train)


def test_jpeg_images_where_png_images_are_missing_are_refused(train, poisoned, tmp_path) -> None:
    _write(tmp_path / "flat", poisoned[1:], [f"{i}.png" for i in range(1, COUNT)])
    _jpegs(tmp_path / "flat", poisoned[:1], ["0.jpg"])
    names = _in_class(0)
    _write(tmp_path / "classes", poisoned[LABELS != 3], [name for name in names if name[0] != "3"])
    _jpegs(tmp_path / "classes", poisoned[LABELS == 3], [n.replace("png", "jpeg") for n in names if n[0] == "3"])
    for name in ("flat", "classes"):
        with pytest.raises(UserError, match=r"PNG images and \d JPEG images"):
            FromFile(str(tmp_path / name)).check_fit(train)


def test_a_preview_next_to_a_whole_set_is_no_poison(train, poisoned, make_context, tmp_path) -> None:
    _write(tmp_path, poisoned, [f"{i}.png" for i in range(COUNT)])
    _jpegs(tmp_path, poisoned[:1], ["preview.jpg"])
    assert torch.equal(FromFile(str(tmp_path)).poison(train, make_context()).images, poisoned)


def test_other_lossless_files_get_the_remedy(train, poisoned, tmp_path) -> None:
    _write(tmp_path, poisoned, [f"{i}.bmp" for i in range(COUNT)])
    with pytest.raises(UserError, match=r"no PNG images and 24 of type \.bmp; if these lost nothing, convert them"):
        FromFile(str(tmp_path)).check_fit(train)


def test_links_that_lead_back_up_are_not_followed(train, poisoned, make_context, tmp_path) -> None:
    attack = FromFile(str(_write(tmp_path / "a", poisoned, [f"data/{i}.png" for i in range(COUNT)])))
    before = attack.content_digest()
    (tmp_path / "a" / "data" / "again").symlink_to("..")
    (tmp_path / "a" / "once more").symlink_to(".")
    assert attack.content_digest() == before
    assert torch.equal(attack.poison(train, make_context()).images, poisoned)


def test_a_part_with_a_suffix_poisons_that_part(train, poisoned, make_context, tmp_path) -> None:
    _write(tmp_path, poisoned[[3, 7, 20]], ["3_adv.png", "7_adv.png", "20_adv.png"])
    with pytest.warns(UserWarning, match="as image"):
        result, mask = craft(FromFile(str(tmp_path)), train, make_context())
    assert mask.nonzero().flatten().tolist() == [3, 7, 20]
    assert torch.equal(result.images[mask], poisoned[mask])
