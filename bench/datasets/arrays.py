"""Arrays of images and labels as people store them: what is read, with a note, and what is refused, with the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError

Note = Callable[[str], None]


def read_labels(array: Any, where: str, note: Note) -> Tensor:
    """Class numbers, int64 (N,), from integers, whole floats, (N, 1) or one-hot rows.

    Args:
        array: as stored.
        where: what an error or a note calls it, for example `a.npz: y_train`.
        note: told whenever the labels were not plain integers (N,).

    Raises:
        UserError: for anything else, with what to do.
    """
    found, shape = array, array.shape
    if len(array) == 0 or array.ndim == 0:
        raise UserError(f"{where}: no labels; give one class number per image")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise UserError(
            f"{where}: labels are of type {array.dtype}, for example {array.flat[0]!r}; "
            "give class numbers 0, 1, 2, ... (np.unique(y, return_inverse=True)[1])"
        )
    if array.ndim == 2 and shape[1] == 1:
        note(f"{where}: labels of shape {shape} were read as ({shape[0]},)")
        found = array[:, 0]
    elif array.ndim == 2:
        found = _class_of_one_hot(array, where)
        note(f"{where}: one-hot labels of shape {shape} were read as class numbers")
    elif array.ndim != 1:
        raise UserError(f"{where}: labels have the shape {shape}; give ({shape[0]},), one class number per image")
    if np.issubdtype(found.dtype, np.floating):
        odd = ~np.isfinite(found) | (found != np.round(found))
        if odd.any():
            row = int(odd.argmax())
            raise UserError(f"{where}: label {found[row]} of image {row} is no class number; give 0, 1, 2, ...")
        note(f"{where}: labels of type {found.dtype} are whole numbers and were read as integers")
    elif found.dtype == bool:
        note(f"{where}: labels of type bool were read as 0 and 1")
    if found.min() < 0:
        raise UserError(f"{where}: labels must be 0, 1, 2, ..., found {found.min()}; remove images without a class")
    return torch.from_numpy(found.astype(np.int64))


def _class_of_one_hot(array: Any, where: str) -> Any:
    one_hot = ((array == 0) | (array == 1)).all(axis=1) & (array.astype(np.float64).sum(axis=1) == 1)
    if not one_hot.all():
        row = int((~one_hot).argmax())
        raise UserError(
            f"{where}: labels have the shape {array.shape}, but row {row} is not one-hot ({array[row][:5]} ...); "
            "soft or several labels per image are not supported: give class numbers"
        )
    return array.argmax(axis=1)


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
            else ""
        )
        raise UserError(f"{where}: no axis of 1 or 3 channels at the second or last place in {array.shape}{four}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _to_uint8(array: Any) -> str:
    """How these values become uint8, in words."""
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or not array.size:
        return "give an array of numbers, all images of one size"
    bad = ~np.isfinite(array)
    if bad.any():
        where = ", ".join(map(str, np.unravel_index(int(bad.argmax()), array.shape)))
        return f"{int(bad.sum())} values are NaN or infinite (the first at [{where}]): find out why before converting"
    low, high = float(array.min()), float(array.max())
    whole = not np.issubdtype(array.dtype, np.floating) or bool((array == np.round(array)).all())
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
