"""`npz:PATH` and `folder:PATH`: data sets of one's own."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.api import DataInfo, ImageSet
from bench.data import Splits, Subset, content_digest
from bench.datasets.arrays import check_classes, read_images, read_labels
from bench.errors import UserError
from bench.registry import datasets
from bench.results import write_json
from bench.spec import digest

_SPLITS = ("train", "test")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_IMAGE_FILES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


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
        if not file.is_file():
            raise UserError(f"npz: no file {file}; give the path of an archive with {', '.join(_ARRAYS)}")
        try:
            with np.load(file, allow_pickle=False) as archive:
                missing = [name for name in _ARRAYS if name not in archive]
                if missing:
                    raise UserError(f"npz: {file} lacks {', '.join(missing)}; it has {', '.join(archive.files)}")
                arrays = {name: archive[name] for name in _ARRAYS}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            if "Object arrays" in str(error):
                raise UserError(f"npz: {file} holds lists or objects; give one array of one size per name") from error
            raise UserError(f"npz: {file} is not a readable archive ({error})") from error
        notes: list[str] = []
        labels = [read_labels(arrays[f"y_{split}"], f"npz: {file}: y_{split}", notes.append) for split in _SPLITS]
        images = [read_images(arrays[f"x_{split}"], f"npz: {file}: x_{split}", notes.append) for split in _SPLITS]
        for split, found, known in zip(_SPLITS, images, labels, strict=True):
            if len(found) != len(known):
                raise UserError(f"npz: {file}: x_{split} has {len(found)} images, y_{split} has {len(known)} labels")
        if images[0].shape[1:] != images[1].shape[1:]:
            sizes = (tuple(found.shape[1:]) for found in images)
            raise UserError("npz: {}: training images are {}, test images {}".format(file, *sizes))
        channels, height, width = images[0].shape[1:]
        info = DataInfo(file.stem, check_classes(labels[0], labels[1], f"npz: {file}"), (channels, height, width))
        train, test = (ImageSet(*pair, info) for pair in zip(images, labels, strict=True))
        return self.cut(Splits(train, test, notes=tuple(notes)))


@datasets.register("folder", deterministic=True)
@dataclass(frozen=True)
class Folder(Subset):
    """Folders train/CLASS/* and test/CLASS/* of image files, resized; may exceed memory.

    Decoded once into memory-mapped files below the data root. Each image is scaled so that its shorter side fits, then
    cropped in the middle.

    Attributes:
        path: of the folder that contains `train` and `test`.
        size: side of the square images, in pixels.
    """

    path: str
    size: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 8 <= self.size <= 1024:
            raise ValueError(f"size must be in 8..1024 pixels, got {self.size}")

    def load(self, root: Path) -> Splits:
        """Decodes what is new and maps the result; `root` keeps the decoded images."""
        base = Path(self.path)
        classes = {split: _class_folders(base / split) for split in ("train", "test")}
        if classes["train"] != classes["test"]:
            odd = set(classes["train"]) ^ set(classes["test"])
            raise UserError(f"folder: {base}: train and test have different classes: {', '.join(sorted(odd)[:5])}")
        train, test = (self._prepare(base / split, classes[split], root) for split in ("train", "test"))
        whole = Splits(train[0], test[0], (train[1], test[1]))
        return whole if self.train is None and self.test is None else self.cut(whole)

    def _prepare(self, split: Path, classes: list[str], root: Path) -> tuple[ImageSet, str]:
        files = [(f, k) for k, name in enumerate(classes) for f in _image_files(split / name)]
        stats = [(str(f.relative_to(split)), f.stat().st_size, f.stat().st_mtime_ns) for f, _ in files]
        target = root / "prepared" / f"{split.name}-{digest([str(split.resolve()), self.size, stats])[:20]}"
        shape = (len(files), 3, self.size, self.size)
        info = DataInfo(split.parent.name, len(classes), (3, self.size, self.size))
        labels = torch.tensor([k for _, k in files])
        sidecar = target.with_suffix(".json")
        if not sidecar.is_file():
            _decode([f for f, _ in files], shape, target)
            write_json(sidecar, {"digest": content_digest(ImageSet(_mapped(target, shape), labels, info))})
        return ImageSet(_mapped(target, shape), labels, info), json.loads(sidecar.read_text(encoding="utf-8"))["digest"]


def _class_folders(split: Path) -> list[str]:
    if not split.is_dir():
        raise UserError(f"folder: no folder {split}; it must contain one folder a class")
    names = sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"folder: {split} has no class folders")
    return names


def _image_files(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in _IMAGE_FILES)
    if not files:
        raise UserError(f"folder: {folder} has no images ({', '.join(sorted(_IMAGE_FILES))})")
    return files


def _decode(files: list[Path], shape: tuple[int, ...], target: Path) -> None:
    from PIL import Image, ImageOps, UnidentifiedImageError

    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(f".{os.getpid()}.part")
    pixels = np.memmap(beside, dtype=np.uint8, mode="w+", shape=shape)
    try:
        for row, file in enumerate(files):
            try:
                with Image.open(file) as image:
                    fitted = ImageOps.fit(image.convert("RGB"), (shape[3], shape[2]), Image.Resampling.BILINEAR)
            except (UnidentifiedImageError, OSError) as error:
                raise UserError(f"folder: {file} is not a readable image ({error}); remove or replace it") from error
            pixels[row] = np.asarray(fitted).transpose(2, 0, 1)
        pixels.flush()
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    return torch.from_file(str(path), shared=False, size=int(np.prod(shape)), dtype=torch.uint8).view(shape)
