"""A folder of PNG images named by their index in the training set."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attacks.from_file.found import Found, entries_of
from attacks.from_file.numbering import FROM_ONE, Numbering, counts_from_one, from_zero, joined, numbered
from attacks.from_file.png_file import pixels
from bench.api import DataInfo, ImageSet
from bench.datasets.inputs import entries, usable
from bench.errors import UserError

_JPEG = (".jpg", ".jpeg")
_OTHERS = (".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm")


def png_files(folder: Path) -> list[Path]:
    """All PNG files of a folder and of the folders in it, without hidden files and litter."""
    return [file for below in _folders(folder) for file in _images(below)]


def _folders(folder: Path) -> list[Path]:
    """The folder and all in it."""
    return [folder, *(deeper for below in _inside(folder) for deeper in _folders(below))]


def _inside(folder: Path) -> list[Path]:
    """The folders in a folder, without links that lead back up to it."""
    above = (folder.resolve(), *folder.resolve().parents)
    return [below for below in entries(folder) if below.is_dir() and below.resolve() not in above]


def _images(folder: Path) -> list[Path]:
    return [usable(entry, "from-file") for entry in entries(folder) if entry.suffix.lower() == ".png"]


def open_folder(folder: Path, train: ImageSet) -> Found:
    """The images of a folder (`data/17.png`) or of class folders in it (`data/CLASS/17.png`).

    A folder that holds one folder and no image, or `data`, is descended. Indices may have gaps: the file then poisons
    a part of the set. In class folders they count the training set, or the images of the class.

    Raises:
        UserError: for a name without index, an index that occurs twice or is too large, another class, or JPEG images.
    """
    found = _by_index(folder, train)
    positions = sorted(found.files)
    ordered = [found.files[position] for position in positions]
    return Found(
        folder,
        "images",
        entries_of(torch.tensor(positions), len(train)),
        lambda chosen, images_u8: decode([ordered[entry] for entry in chosen.tolist()], train.info),
        {"content": f"{len(ordered)} PNG image{'s' * (len(ordered) != 1)}"},
        (f"from-file: {folder}: read {found.read_as}",) if found.read_as else (),
    )


def _refuse_others(folders: list[Path], count: int) -> None:
    """Raises UserError if images of other types lie where PNG images are missing."""
    kinds = Counter(entry.suffix.lower() for folder in folders for entry in entries(folder))
    holds = f"from-file: {folders[0]} holds {count or 'no'} PNG image{'s' * (count != 1)}"
    if jpeg := sum(kinds[suffix] for suffix in _JPEG):
        raise UserError(
            f"{holds} and {jpeg} JPEG images: JPEG changes pixels by more than a poison does, so that their poison is "
            "gone, and converting them does not bring it back; get the poison as PNG files or as an array"
        )
    if others := sum(kinds[suffix] for suffix in _OTHERS):
        types = ", ".join(suffix for suffix in _OTHERS if kinds[suffix])
        raise UserError(f"{holds} and {others} of type {types}; if these lost nothing, convert them to PNG")
    if not count:
        raise UserError(f"{holds}; poisons are read from PNG files and arrays only")


def _by_index(folder: Path, train: ImageSet) -> Numbering:
    if images := _images(folder):
        if len(images) < len(train):
            _refuse_others([folder], len(images))
        return from_zero(numbered(images), len(train), folder)
    folders = [below for below in _inside(folder) if png_files(below)]
    if not folders:
        _refuse_others(_folders(folder), 0)
    data = [below for below in folders if below.name == "data" or (len(folders) == 1 and not below.name.isdecimal())]
    if data:
        return _by_index(data[0], train)
    return _of_classes(folders, folder, train)


def _of_classes(folders: list[Path], folder: Path, train: ImageSet) -> Numbering:
    """Images of class folders: by index in the whole set if the labels agree with that, else by index in the class."""
    classes, labels = train.info.num_classes, train.labels
    if all(below.name.isdecimal() for below in folders):
        numbers = {int(below.name): below for below in folders}
    elif len(folders) == classes:
        numbers = dict(enumerate(folders))  # as torchvision's ImageFolder counts them
    else:
        raise UserError(
            f"from-file: {folder} holds {len(folders)} folders, {folders[0].name}, ...; name class folders by number, "
            f"0..{classes - 1}, or let there be one for each class"
        )
    if max(numbers) >= classes:
        from_one = f"; if they count from 1, rename them to 0..{classes - 1}" if max(numbers) == classes else ""
        raise UserError(f"from-file: {numbers[max(numbers)]}: there is no class {max(numbers)} of {classes}{from_one}")
    found = {number: numbered(_images(below)) for number, below in numbers.items()}
    if (count := sum(len(of_class.files) for of_class in found.values())) < len(train):
        _refuse_others(_folders(folder), count)
    named = next((of_class.read_as for of_class in found.values() if of_class.read_as), "")
    flat = [(index, number, file) for number, of_class in found.items() for index, file in of_class.files.items()]
    for start in (0, 1):
        if all(0 <= i - start < len(labels) and int(labels[i - start]) == number for i, number, _ in flat):
            return Numbering({i - start: file for i, _, file in flat}, joined(named, FROM_ONE * start))
    rows = {number: (labels == number).nonzero().flatten().tolist() for number in numbers}
    start = int(all(counts_from_one(of_class, len(rows[number])) for number, of_class in found.items()))
    for index, number, file in flat:
        if index - start >= len(rows[number]):
            where = f"has class {int(labels[index])}" if index < len(labels) else "does not exist"
            raise UserError(
                f"from-file: {file}: image {index} of {train.info.name} {where}, and class {number} has only "
                f"{len(rows[number])} images; name the files by their index in the set or in the class, from 0"
            )
    files = {rows[number][index - start]: file for index, number, file in flat}
    return Numbering(files, joined(named, FROM_ONE * start))


def decode(files: list[Path], info: DataInfo) -> Tensor:
    """uint8 (n, C, H, W); see `pixels`."""
    channels, height, width = info.shape
    images = np.empty((len(files), height, width, channels), dtype=np.uint8)
    for image, file in zip(images, files, strict=True):
        image[:] = pixels(file, info)
    return torch.from_numpy(images).permute(0, 3, 1, 2)
