"""`npz:PATH` and `folder:PATH`, data sets of one's own; `imagenet100`, which nobody may pass on."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from bench.api import DataInfo, ImageSet
from bench.datasets import decoding
from bench.datasets.arrays import check_classes, read_images
from bench.datasets.inputs import read_labels, refuse_device, refuse_pointer
from bench.datasets.splits import Splits, content_digest
from bench.datasets.subsets import Subset
from bench.datasets.tree import Labelled, find_splits
from bench.errors import UserError
from bench.formats import counted
from bench.registry import datasets
from bench.registry.source import source_digest
from bench.select.spec import digest
from bench.store.results import write_json

_LONG = 4.0  # length by width from which an image is noted
_SPLITS = ("train", "test")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@datasets.register("npz", deterministic=True)
@dataclass(frozen=True)
class Npz(Subset):
    """A NumPy archive with x_train, y_train, x_test, y_test; uint8 images, NHWC, NCHW or gray NHW.

    Labels are class numbers from 0. Those stored as (N, 1), one-hot or whole floats are read too, with a note.

    Attributes:
        path: of the `.npz` file.
    """

    path: str

    def load(self, root: Path) -> Splits:
        """Reads the archive; `root` is not used."""
        file = Path(self.path)
        if file.suffix == ".npy":
            raise UserError(f"npz: {file} holds one array; save {', '.join(_ARRAYS)} in one file with np.savez")
        refuse_device(file, "npz")
        if not file.is_file():
            raise UserError(f"npz: no file {file}; give the path of an archive with {', '.join(_ARRAYS)}")
        try:
            with np.load(file, allow_pickle=False) as archive:
                missing = [name for name in _ARRAYS if name not in archive]
                if missing:
                    has = ", ".join(archive.files) or "no array"
                    raise UserError(
                        f"npz: {file} lacks {', '.join(missing)}; it has {has}. Save all four in one file: "
                        f"np.savez(path, {', '.join(f'{name}=...' for name in _ARRAYS)})"
                    )
                arrays = {name: archive[name] for name in _ARRAYS}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            refuse_pointer(file, "npz")
            if "Object arrays" in str(error):
                raise UserError(f"npz: {file} holds lists or objects; give one array of one size per name") from error
            reason = f" ({error})" if zipfile.is_zipfile(file) else ""
            raise UserError(
                f"npz: {file} is not a readable archive{reason}; copy or download it again, or save it with np.savez"
            ) from error
        notes: list[str] = []
        labels = [read_labels(arrays[f"y_{split}"], f"npz: {file}: y_{split}", notes.append) for split in _SPLITS]
        images = [read_images(arrays[f"x_{split}"], f"npz: {file}: x_{split}", notes.append) for split in _SPLITS]
        for split, found, known in zip(_SPLITS, images, labels, strict=True):
            if len(found) != len(known):
                raise UserError(
                    f"npz: {file}: x_{split} has {counted(len(found), 'image')}, y_{split} has "
                    f"{counted(len(known), 'label')}"
                )
        if images[0].shape[1:] != images[1].shape[1:]:
            sizes = (tuple(found.shape[1:]) for found in images)
            raise UserError("npz: {}: training images are {}, test images {}; give all one size".format(file, *sizes))
        channels, height, width = images[0].shape[1:]
        info = DataInfo(file.stem, check_classes(labels[0], labels[1], f"npz: {file}"), (channels, height, width))
        train, test = (ImageSet(*pair, info) for pair in zip(images, labels, strict=True))
        return self.cut(Splits(train, test, notes=tuple(notes)))


@datasets.register("folder", deterministic=True)
@dataclass(frozen=True)
class Folder(Subset):
    """Folders train/CLASS/* and test/CLASS/* (or val/CLASS/*) of image files, resized; may exceed memory.

    Decoded once into memory-mapped files below the data root. Tiny-ImageNet is read as it is unpacked. Hidden files,
    `__MACOSX` and the like are ignored.

    Attributes:
        path: of the folder that contains `train` and `test`.
        size: side of the square images, in pixels.
        fit: `crop`: the largest square in the middle of each image is resized. `whole`: as the papers treat ImageNet:
            a training image is stored whole, squeezed into a square, with the aspect ratio it had, for random resized
            crops, which undo that; of a test image the shorter side becomes 8/7 of the size, then the middle is cut.
    """

    path: str
    size: int = 224
    fit: Literal["crop", "whole"] = "crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self.size)
        if self.fit not in ("crop", "whole"):
            raise ValueError(f"fit must be crop or whole, got {self.fit!r}")

    def load(self, root: Path) -> Splits:
        """Decodes what is new and maps the result; `root` keeps the decoded images."""
        base = Path(self.path)
        notes: list[str] = []
        train, test = find_splits(base, notes.append)
        if train.classes != test.classes:
            raise UserError(f"folder: {base}: {_difference(train, test)}; give both the same class folders")
        info = DataInfo(base.name, len(train.classes), (3, self.size, self.size))
        return self.cut(_Prepared(root, info, notes).load(train, test, self.fit))


@datasets.register("imagenet100", source="Russakovsky et al. 2015", deterministic=True)
@dataclass(frozen=True, kw_only=True)
class Imagenet100(Subset):
    """The first 100 classes of ImageNet (ILSVRC 2012) at 224 pixels, not downloaded: see docs/datasets.md.

    Like `folder:fit=whole`: victims need random resized crops, and test images are resized to 256 and cut to 224.

    Attributes:
        path: of the folder that contains train/CLASS/* and val/CLASS/* (or test/CLASS/*), of 100 classes or of all;
            `imagenet100` below the data root if empty.
        size: side of the square images, in pixels.
        classes: how many, the first by name.
    """

    path: str = ""
    size: int = 224
    classes: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self.size)
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")

    def load(self, root: Path) -> Splits:
        """Decodes what is new and maps the result; `root` keeps the decoded images."""
        base = Path(self.path) if self.path else root / "imagenet100"
        notes: list[str] = []
        train, test = find_splits(base, notes.append)
        classes = train.classes[: self.classes]
        if len(classes) < self.classes:
            raise UserError(
                f"imagenet100: {train.root} has {_classes(classes)}, {self.classes} are wanted; "
                f"copy the others there, or say classes={len(classes)}"
            )
        absent = sorted(set(classes) - set(test.classes))
        if absent:
            lacks = f"{test.root} lacks {_classes(absent)} of {train.root}: {_listed(absent)}"
            raise UserError(f"imagenet100: {lacks}")
        info = DataInfo("imagenet100", len(classes), (3, self.size, self.size))
        return self.cut(_Prepared(root, info, notes).load(train.of(classes), test.of(classes), "whole"))


def _classes(names: list[str]) -> str:
    return counted(len(names), "class", "classes")


def _listed(names: list[str]) -> str:
    """The first names; one with a space at an end is in quotes, so that the space is seen."""
    return ", ".join(name if name == name.strip() else repr(name) for name in names[:5])


def _difference(train: Labelled, test: Labelled) -> str:
    """`test lacks the classes a, b of train`, and the other way around."""
    lacks = [
        f"{one.root.name} lacks {_classes(absent)} of {other.root.name}: {_listed(absent)}"
        for one, other in ((test, train), (train, test))
        if (absent := sorted(set(other.classes) - set(one.classes)))
    ]
    return "; ".join(lacks)


def _check_size(size: int) -> None:
    if not 8 <= size <= 1024:
        raise ValueError(f"size must be in 8..1024 pixels, got {size}")


@dataclass(frozen=True)
class _Prepared:
    """Decoded images below the data root, made where they are absent, or their files or our decoding changed."""

    root: Path
    info: DataInfo
    notes: list[str]

    def load(self, train: Labelled, test: Labelled, fit: str) -> Splits:
        """Both splits, with the digests stored with them."""
        ways = (decoding.squeezed, decoding.as_tested) if fit == "whole" else (decoding.cropped, decoding.cropped)
        sets = [self._split(split, way) for split, way in zip((train, test), ways, strict=True)]
        return Splits(sets[0][0], sets[1][0], (sets[0][1], sets[1][1]), tuple(self.notes))

    def _split(self, split: Labelled, fit: decoding.Fit) -> tuple[ImageSet, str]:
        stats = [(str(f.relative_to(split.root)), *_state(f)) for f, _ in split.files]
        labels = [k for _, k in split.files]
        size, way = self.info.shape[1], [fit.__name__, source_digest(decoding.__name__)]
        name = f"{split.root.name}-{digest([str(split.root.resolve()), size, way, stats, labels])[:20]}"
        target = self.root / "prepared" / name
        sidecar = target.with_suffix(".json")

        def images(ratios: list[float] | None) -> ImageSet:
            aspect = None if ratios is None else torch.tensor(ratios, dtype=torch.float32)
            return ImageSet(decoding.mapped(target, len(labels), size), torch.tensor(labels), self.info, aspect)

        if not sidecar.is_file():
            ratios = decoding.decode([f for f, _ in split.files], size, fit, target)
            kept = ratios if fit is decoding.squeezed else None
            facts = {"digest": content_digest(images(kept)), "aspect_ratios": kept}
            write_json(sidecar, {**facts, "note": _on_extremes(split, ratios)})
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
        if facts["note"]:
            self.notes.append(facts["note"])
        return images(facts["aspect_ratios"]), facts["digest"]


def _state(file: Path) -> tuple[int, ...]:
    """Facts that change with a file; its time of modification alone can be kept or set by who replaces it."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _on_extremes(split: Labelled, ratios: list[float]) -> str:
    """A note on images that are so long that little of them is left in a square; "" if there are none."""
    lengths = [max(ratio, 1 / ratio) for ratio in ratios]
    count, longest = sum(length > _LONG for length in lengths), max(lengths)
    if not count:
        return ""
    file = split.files[lengths.index(longest)][0]
    many = f"{count} of {len(lengths)} images"
    return f"folder: {split.root}: {many} are over {_LONG:g} times as long as wide (up to {longest:.0f}: {file})"
