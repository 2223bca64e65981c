"""Image files to one memory-mapped array: cropped to a square, whole and squeezed into one, or as test images are."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.datasets.inputs import refuse_pointer
from bench.errors import UserError
from bench.store.data_files import reserve
from bench.store.locks import owned, remove_abandoned

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
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob("*.part"):
        remove_abandoned(left)
    beside = target.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
    with owned(beside):
        return _decode(files, size, fit, beside, target)


def _decode(files: list[Path], size: int, fit: Fit, beside: Path, target: Path) -> list[float]:
    from PIL import Image

    reserve(beside, len(files) * 3 * size**2)
    pixels = np.memmap(beside, dtype=np.uint8, mode="r+", shape=(len(files), 3, size, size))

    def put(row: int) -> float:
        image = _rgb(files[row])
        pixels[row] = np.asarray(fit(image, size)).transpose(2, 0, 1)
        return image.width / image.height

    ratios: list[float] = []
    try:
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as threads:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # at half the size that is refused
            for start in range(0, len(files), _AT_ONCE):
                ratios += threads.map(put, range(start, min(start + _AT_ONCE, len(files))))
        pixels.flush()
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return ratios


def _rgb(file: Path) -> Image.Image:
    """The image with 8 bits for each of three channels; 16 bits are rounded to 8, transparency is dropped.

    Raises:
        UserError: if the file is no readable image, or has more than 16 bits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
                # Pillow would cut 16 bits of gray at 255, and show nearly all of it as white.
                wide = np.asarray(image).astype(np.float64)
                return Image.fromarray(np.round(wide / 257).astype(np.uint8)).convert("RGB")
            if image.mode in ("I", "F"):
                raise UserError(f"folder: {file} has 32 bits a pixel; scale it to 0..255 and save it with 8 bits")
            return image.convert("RGB")
    except Image.DecompressionBombError as error:
        limit = str(error).partition(",")[0]  # behind it, the words about an attack
        raise UserError(f"folder: {file} has too many pixels ({limit}); shrink or remove it") from error
    except UnidentifiedImageError as error:
        refuse_pointer(file, "folder")
        raise UserError(f"folder: {file} is not a readable image; remove or replace it") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"folder: {file} is not a readable image ({error}); remove or replace it") from error


def mapped(path: Path, count: int, size: int) -> Tensor:
    """Output of `decode`, uint8 (N, 3, size, size), read as it is needed."""
    return torch.from_file(str(path), shared=False, size=count * 3 * size**2, dtype=torch.uint8).view(-1, 3, size, size)
