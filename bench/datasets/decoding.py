"""Image files to one memory-mapped array: cropped to a square, whole and squeezed into one, or as test images are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    Fit = Callable[[Image.Image, int], Image.Image]

_AT_ONCE = 1024  # files handed to the threads


def cropped(image: Image.Image, size: int) -> Image.Image:
    """The largest square in the middle, resized (bilinear, antialiased)."""
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def squeezed(image: Image.Image, size: int) -> Image.Image:
    """The whole image, resized to a square whatever its shape."""
    from PIL import Image

    return image.resize((size, size), Image.Resampling.BILINEAR)


def as_tested(image: Image.Image, size: int) -> Image.Image:
    """torchvision's Resize(size * 8 / 7) of the shorter side, then its CenterCrop(size): 256 and 224 in the papers."""
    from PIL import Image

    width, height = image.size
    shorter = round(size * 8 / 7)
    if width <= height:
        width, height = shorter, int(shorter * height / width)
    else:
        width, height = int(shorter * width / height), shorter
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))


def decode(files: list[Path], size: int, fit: Fit, target: Path) -> list[float]:
    """Writes uint8 (N, 3, size, size) to `target`, on as many threads as there are cores; returns width by height.

    Raises:
        UserError: for a file that is no readable image.
    """
    from PIL import Image, UnidentifiedImageError

    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(f".{os.getpid()}.part")
    pixels = np.memmap(beside, dtype=np.uint8, mode="w+", shape=(len(files), 3, size, size))

    def put(row: int) -> float:
        try:
            with Image.open(files[row]) as image:
                ratio = image.width / image.height
                fitted = fit(image.convert("RGB"), size)
        except Image.DecompressionBombError as error:
            raise UserError(f"folder: {files[row]} has too many pixels ({error}); shrink or remove it") from error
        except (UnidentifiedImageError, OSError) as error:
            raise UserError(f"folder: {files[row]} is not a readable image ({error}); remove or replace it") from error
        pixels[row] = np.asarray(fitted).transpose(2, 0, 1)
        return ratio

    ratios: list[float] = []
    try:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for start in range(0, len(files), _AT_ONCE):
                ratios += threads.map(put, range(start, min(start + _AT_ONCE, len(files))))
        pixels.flush()
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return ratios


def mapped(path: Path, count: int, size: int) -> Tensor:
    """What `decode` wrote, uint8 (N, 3, size, size), read as it is needed."""
    return torch.from_file(str(path), shared=False, size=count * 3 * size**2, dtype=torch.uint8).view(-1, 3, size, size)
