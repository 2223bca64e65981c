"""A folder of PNG images named by their index in the training set."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attacks.from_file.found import Found, entries_of
from bench.api import DataInfo, ImageSet
from bench.errors import UserError


def png_files(folder: Path) -> list[Path]:
    """All PNG files of a folder and of the folders in it, in no order."""
    return [file for file in folder.rglob("*") if file.suffix.lower() == ".png" and file.is_file()]


def open_folder(folder: Path, train: ImageSet) -> Found:
    """The images of a folder (`data/17.png`) or of class folders in it (`data/CLASS/17.png`).

    A folder that holds one folder and no image, or `data`, is descended. Indices may have gaps: the file then poisons
    a part of the set. In class folders they count the training set, or the images of the class.

    Raises:
        UserError: for a name without index, an index that occurs twice or is too large, or another class.
    """
    files = _by_index(folder, train)
    positions = sorted(files)
    ordered = [files[position] for position in positions]
    return Found(
        folder,
        "images",
        entries_of(torch.tensor(positions), len(train)),
        lambda entries, images_u8: decode([ordered[entry] for entry in entries.tolist()], train.info),
        {"content": f"{len(ordered)} PNG images"},
    )


def _by_index(folder: Path, train: ImageSet) -> dict[int, Path]:
    images = [file for file in folder.iterdir() if file.suffix.lower() == ".png" and file.is_file()]
    if images:
        return _checked(_numbered(images), len(train), folder)
    folders = sorted(below for below in folder.iterdir() if below.is_dir() and png_files(below))
    if not folders:
        raise UserError(f"from-file: {folder} holds no PNG image; poisons are read from PNG files and arrays only")
    data = [below for below in folders if below.name == "data" or (len(folders) == 1 and not below.name.isdecimal())]
    if data:
        return _by_index(data[0], train)
    return _of_classes(folders, folder, train)


def _of_classes(folders: list[Path], folder: Path, train: ImageSet) -> dict[int, Path]:
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
        raise UserError(f"from-file: {numbers[max(numbers)]}: there is no class {max(numbers)} of {classes}")
    found = {number: _numbered(list(below.glob("*.[pP][nN][gG]"))) for number, below in numbers.items()}
    flat = [(index, number, file) for number, files in found.items() for index, file in files.items()]
    if all(index < len(labels) and int(labels[index]) == number for index, number, _ in flat):
        return {index: file for index, _, file in flat}
    rows = {number: (labels == number).nonzero().flatten().tolist() for number in numbers}
    for index, number, file in flat:
        if index >= len(rows[number]):
            where = f"has class {int(labels[index])}" if index < len(labels) else "does not exist"
            raise UserError(
                f"from-file: {file}: image {index} of {train.info.name} {where}, and class {number} has only "
                f"{len(rows[number])} images; name the files by their index in the set or in the class"
            )
    return {rows[number][index]: file for index, number, file in flat}


def _numbered(files: list[Path]) -> dict[int, Path]:
    """Files by the number that ends their names.

    Not in the order of a listing: as strings, 10 comes before 2, and every label would be wrong.
    """
    found: dict[int, Path] = {}
    for file in files:
        match = re.search(r"\d+$", file.stem)
        if match is None:
            raise UserError(f"from-file: {file} does not end in its index; name the images 0.png, 1.png, ...")
        index = int(match.group())
        if index in found:
            raise UserError(
                f"from-file: {file.name} and {found[index].name} in {file.parent} have one index; remove one"
            )
        found[index] = file
    return found


def _checked(found: dict[int, Path], count: int, folder: Path) -> dict[int, Path]:
    if max(found) >= count:
        start = "; if they count from 1, rename them" if min(found) == 1 and len(found) == count else ""
        raise UserError(
            f"from-file: {folder} may hold the indices 0..{count - 1}, but {max(found)} is too large "
            f"({len(found)} files){start}"
        )
    return found


def decode(files: list[Path], info: DataInfo) -> Tensor:
    """uint8 (n, C, H, W), without any conversion of color or size."""
    channels, height, width = info.shape
    mode = {1: "L", 3: "RGB"}.get(channels)
    images = np.empty((len(files), height, width, channels), dtype=np.uint8)
    for image, file in zip(images, files, strict=True):
        with Image.open(file) as png:
            if png.mode != mode or png.size != (width, height):
                raise UserError(
                    f"from-file: {file} is {png.mode} {png.width}x{png.height}, "
                    f"but {info.name} needs 8-bit {mode} {width}x{height}; convert it without loss"
                )
            image[:] = np.asarray(png).reshape(height, width, channels)
    return torch.from_numpy(images).permute(0, 3, 1, 2)
