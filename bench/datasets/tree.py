"""Finds the labelled image files below a folder: class folders as in ImageNet and Tiny-ImageNet, without the litter."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.datasets.inputs import Note, entries, refuse_device, usable
from bench.errors import UserError
from bench.formats import counted

IMAGE_FILES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
_OTHER_IMAGES = {".gif", ".avif", ".heic", ".jp2", ".svg", ".npy", ".psd"}
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
_DATABASES = {
    ".mdb": "an LMDB database",
    ".parquet": "Parquet tables",
    ".arrow": "Arrow tables",
    ".tfrecord": "TFRecord files",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".tar": "packed files",
    ".zip": "packed files",
}
_ANNOTATIONS = "val_annotations.txt"  # of Tiny-ImageNet


@dataclass(frozen=True)
class Labelled:
    """The files of a split, each with the position of its class in `classes`.

    Attributes:
        root: folder of the split.
        classes: names in ascending order.
        files: path and class of every image.
    """

    root: Path
    classes: list[str]
    files: list[tuple[Path, int]]

    def of(self, classes: list[str]) -> Labelled:
        """The images of these classes alone, numbered by their order there."""
        chosen = {self.classes.index(name): k for k, name in enumerate(classes)}
        return Labelled(self.root, classes, [(file, chosen[k]) for file, k in self.files if k in chosen])


def find_splits(base: Path, note: Note) -> tuple[Labelled, Labelled]:
    """Training and test images: train/CLASS/*, and test/CLASS/* or, as in ImageNet, val/CLASS/*.

    Tiny-ImageNet is read as it is unpacked: images of a class may lie one folder deeper (CLASS/images/*), and the
    classes of its validation images are read from val/val_annotations.txt.

    Args:
        base: folder that contains `train`.
        note: told of files that are left out.

    Raises:
        UserError: if a folder or its images are missing, or an image cannot be used.
    """
    _check_base(base)
    train = _by_folders(base / "train", note)
    test, val = base / "test", base / "val"
    if (val / _ANNOTATIONS).is_file():
        return train, _annotated(val)
    labelled = next((split for split in (test, val) if _classes(split)), None)
    found = _by_folders(labelled or (val if val.is_dir() and not test.is_dir() else test), note)
    if found.classes == ["images"] != train.classes:
        raise UserError(
            f"folder: {found.root} has images without classes; Tiny-ImageNet has them in {val / _ANNOTATIONS}: "
            "unpack the archive again"
        )
    return train, found


def _check_base(base: Path) -> None:
    """Raises UserError for what is often given instead of a folder with `train`, with what to give."""
    refuse_device(base, "folder")
    if base.is_file():
        way = "unpack it, and give the folder" if base.suffix.lower() in _ARCHIVES else "give the folder with train/"
        raise UserError(f"folder: {base} is a file; {way}")
    if not base.is_dir() or (base / "train").is_dir():
        if (base / "train").is_dir() and not any((base / name).is_dir() for name in ("test", "val")):
            raise UserError(
                f"folder: {base} has train and neither test nor val; move a part of the images of each class to "
                f"{base / 'test'}/CLASS, or give a folder with both"
            )
        return
    if base.name in ("train", "test", "val") and (base.parent / "train").is_dir():
        raise UserError(f"folder: {base} is one of two splits; give the folder with both: folder:{base.parent}")
    for name in (entry.name for entry in entries(base)):
        if name.startswith("data_batch_") or name in ("meta", "batches.meta"):
            raise UserError(f"folder: {base} has the batches of CIFAR; use --dataset cifar10 --data-root {base.parent}")
        for suffix, kind in _DATABASES.items():
            if name.lower().endswith(suffix):
                raise UserError(
                    f"folder: {base} holds {kind} ({name}), which is not read; export its images as "
                    "train/CLASS/*.png and test/CLASS/*.png"
                )


def _classes(split: Path) -> list[Path]:
    """The class folders of a split.

    Raises:
        UserError: for a link to nowhere.
    """
    found = entries(split) if split.is_dir() else []
    return [entry for entry in found if entry.is_dir() or (entry.is_symlink() and not usable(entry, "folder"))]


def _by_folders(split: Path, note: Note) -> Labelled:
    if not split.is_dir():
        there = ", ".join(entry.name for entry in entries(split.parent)[:5]) if split.parent.is_dir() else ""
        raise UserError(
            f"folder: no folder {split}; it must contain one folder per class"
            + (f"; {split.parent} has {there}: rename, or give another path" if there else "; check the path")
        )
    folders = _classes(split)
    if not folders:
        raise UserError(f"folder: {split} has no class folders; put the images of each class into a folder of its name")
    left_out = Counter(entry.suffix.lower() or entry.name for entry in entries(split) if entry not in folders)
    files = [(file, k) for k, folder in enumerate(folders) for file in _images(folder, left_out)]
    if left_out:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(left_out.items()))
        note(f"folder: {split}: left out what is no image of a class: {kinds}")
    return Labelled(split, [folder.name for folder in folders], files)


def _images(folder: Path, left_out: Counter[str]) -> list[Path]:
    """The image files of a class; those in its folder `images` if it has no others. Counts what is left out."""
    found: list[Path] = []
    for entry in entries(folder):
        suffix = entry.suffix.lower()
        if suffix in IMAGE_FILES:
            found.append(usable(entry, "folder"))
        elif suffix in _OTHER_IMAGES and entry.is_file():
            raise UserError(f"folder: {entry}: {suffix} files are not supported; convert them to PNG, or remove them")
        elif entry.is_file():
            left_out[suffix or entry.name] += 1
    if not found and (folder / "images").is_dir():
        return _images(folder / "images", left_out)
    if not found:
        raise UserError(f"folder: {folder} has no images ({', '.join(sorted(IMAGE_FILES))}); remove it, or fill it")
    return found


def _annotated(split: Path) -> Labelled:
    """Tiny-ImageNet's validation images: `images/*`, and lines `file<TAB>class<TAB>box` in the list of annotations."""
    path = split / _ANNOTATIONS
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if bad := next((number for number, line in enumerate(lines, 1) if len(line) < 2), 0):
        raise UserError(f"folder: {path}: line {bad} is not `file<TAB>class...`; unpack the archive again")
    class_of = {line[0]: line[1] for line in lines}
    classes = sorted(set(class_of.values()))
    images = _images(split / "images", Counter())
    if unknown := [file.name for file in images if file.name not in class_of]:
        raise UserError(
            f"folder: {path} names no class for {counted(len(unknown), 'image')}, the first is {unknown[0]}"
        )
    if absent := sorted(set(class_of) - {file.name for file in images}):
        count = counted(len(absent), "image")
        raise UserError(
            f"folder: {path} names {count} not in {split / 'images'}, the first is {absent[0]}; "
            "unpack the archive again, or remove their lines"
        )
    return Labelled(split, classes, [(file, classes.index(class_of[file.name])) for file in images])
