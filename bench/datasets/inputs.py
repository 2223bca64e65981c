"""Common parts of data sets and poison files: labels as people store them, and files that are litter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError

Note = Callable[[str], None]

_POINTER = b"version https://git-lfs.github.com/spec/"
_LITTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def entries(folder: Path) -> list[Path]:
    """Content of a folder, by name, without hidden files and the leftovers of macOS and Windows."""
    return sorted(e for e in folder.iterdir() if not e.name.startswith(".") and e.name not in _LITTER)


def usable(path: Path, who: str) -> Path:
    """The path itself, if it is a file.

    Args:
        path: called like an image.
        who: what reads it, as the error begins.

    Raises:
        UserError: for a link to nowhere, and for a folder that is called like an image.
    """
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        raise UserError(
            f"{who}: {path} is a link to {target}, which is not there; restore that file or remove the link"
        )
    refuse_device(path, who)
    if not path.is_file():
        raise UserError(f"{who}: {path} is a folder, but it is called like an image; rename or remove it")
    return path


def refuse_device(path: Path, who: str = "") -> None:
    """Raises UserError if the path is a pipe, a device or a socket, of which a read may never end.

    Args:
        path: perhaps of nothing.
        who: what reads it, as the error begins.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        where = f"{who}: {path}" if who else path
        raise UserError(f"{where} is a pipe, a device or a socket; copy its content into a file, and give that")


def refuse_pointer(path: Path, who: str = "") -> None:
    """Raises UserError if the file is a Git LFS pointer: a small text where the file itself was not fetched.

    Args:
        path: a file, perhaps unreadable.
        who: what reads it, as the error begins.
    """
    with suppress(OSError), path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            where = f"{who}: {path}" if who else path
            raise UserError(f"{where} is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`")


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
    if np.iscomplexobj(array) or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise UserError(
            f"{where}: labels are of type {array.dtype}, for example {array.flat[0].item()!r}; "
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
        raise UserError(
            f"{where}: labels must be 0, 1, 2, ..., found {found.min()}; renumber all labels with "
            f"np.unique(y, return_inverse=True)[1], or remove the images of {found.min()} if it means no class"
        )
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
