"""Arrays of images as people store them, and the numbers of their classes: what is read and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.datasets.inputs import Note
from bench.errors import UserError
from bench.formats import counted


def check_classes(train: Tensor, test: Tensor, where: str) -> int:
    """K, if the training labels are 0..K-1 without gaps and contain every test label.

    Raises:
        UserError: with what is missing, and how to number the classes.
    """
    present = torch.unique(train).tolist()
    missing = sorted(set(range(present[-1] + 1)) - set(present))
    beyond = sorted(set(test.tolist()) - set(present))
    if missing == [0]:
        raise UserError(
            f"{where}: training labels are 1..{present[-1]}; number classes from 0: subtract 1 from all labels"
        )
    if not missing and len(present) > 1 and sorted(set(test.tolist())) == [label + 1 for label in present]:
        raise UserError(
            f"{where}: training labels are 0..{present[-1]}, test labels 1..{present[-1] + 1}: subtract 1 from y_test"
        )
    if missing or beyond:
        raise UserError(
            f"{where}: training labels must be 0..K-1 without gaps and contain every test label; missing in y_train: "
            f"{', '.join(map(str, missing + beyond))}. Renumber both with np.unique(y, return_inverse=True)[1] on all "
            "labels, or remove these test images"
        )
    return len(present)


def read_images(array: Any, where: str, note: Note) -> Tensor:
    """Images, uint8 (N, C, H, W) with 1 or 3 channels, from NHWC, NCHW or gray (N, H, W).

    Args:
        array: as stored; uint8.
        where: what an error or a note calls it.
        note: told if a channel was added.

    Raises:
        UserError: for anything else, with what to do.
    """
    if array.dtype != np.uint8:
        raise UserError(f"{where}: images must be uint8, got {array.dtype} {array.shape}; {_to_uint8(array)}")
    if array.ndim == 3:
        note(f"{where}: images of shape {array.shape} were read as gray, one channel")
        array = array[:, None]
    if array.ndim != 4:
        raise UserError(f"{where}: images have the shape {array.shape}; {_to_four_dimensions(array.shape)}")
    if array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    elif array.shape[1] not in (1, 3):
        four = (
            "; drop the fourth channel (alpha): x[..., :3] or x[:, :3]"
            if 4 in (array.shape[1], array.shape[-1])
            else "; give gray or RGB images"
        )
        raise UserError(f"{where}: no axis of 1 or 3 channels at the second or last place in {array.shape}{four}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _to_uint8(array: Any) -> str:
    """Conversion of these values to uint8, in words."""
    if np.iscomplexobj(array):
        return "complex numbers are no pixels: take their magnitude, np.abs(x), and scale it to 0..255"
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or not array.size:
        return "give an array of numbers, all images of one size"
    bad = ~np.isfinite(array)
    if bad.any():
        where = ", ".join(map(str, np.unravel_index(int(bad.argmax()), array.shape)))
        count = int(bad.sum())
        verb = "is" if count == 1 else "are"
        return f"{counted(count, 'value')} {verb} NaN or infinite (the first at [{where}]): find out why first"
    low, high = float(array.min()), float(array.max())
    whole = not np.issubdtype(array.dtype, np.floating) or bool((array == np.round(array)).all())
    if whole and low >= 0 and high > 255:
        return f"whole numbers up to {high:g} are not 8-bit images; for 16 bits: np.round(x / 257).astype(np.uint8)"
    if low < 0 or high > 255:
        return f"values from {low:.3g} to {high:.3g} look normalized: undo mean and deviation, then round to 0..255"
    if high <= 1 and not (whole and high == 0):
        return "values in [0, 1]: multiply by 255, round, and cast: (x * 255).round().astype(np.uint8)"
    if whole:
        return "values are whole numbers in 0..255: cast them, x.astype(np.uint8)"
    return "values in 0..255: round and cast, x.round().astype(np.uint8)"


def _to_four_dimensions(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        side = math.isqrt(shape[1] // 3)
        if 3 * side * side == shape[1]:
            return f"reshape the rows of {shape[1]} values: x.reshape(-1, 3, {side}, {side})"
    return "give (N, H, W, C) or (N, C, H, W)"
