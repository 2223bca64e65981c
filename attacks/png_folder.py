"""A folder of PNG images named by their index in the training set."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.api import DataInfo
from bench.errors import UserError


def png_files(folder: Path) -> list[Path]:
    """The PNG files directly in a folder, in no order."""
    return [file for file in folder.iterdir() if file.suffix.lower() == ".png" and file.is_file()]


def files_by_index(folder: Path, count: int) -> list[Path]:
    """The PNG files of a folder in the order of the number that ends their names; exactly 0..count-1.

    Not in the order of a listing: as strings, 10 comes before 2, and every label would be wrong.
    """
    found: dict[int, Path] = {}
    for file in png_files(folder):
        match = re.search(r"\d+$", file.stem)
        if match is None:
            raise UserError(f"from-file: {file} does not end in its index; name the images 0.png, 1.png, ...")
        index = int(match.group())
        if index in found:
            raise UserError(f"from-file: {file.name} and {found[index].name} in {folder} have one index; remove one")
        found[index] = file
    missing = [index for index in range(count) if index not in found]
    if missing or len(found) != count:
        reason = f"{missing[0]} is missing" if missing else f"{max(found)} is too large"
        raise UserError(f"from-file: {folder} must hold the indices 0..{count - 1}, but {reason} ({len(found)} files)")
    return [found[index] for index in range(count)]


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
