"""Reads tensors from files other people wrote, without ever unpickling code."""

import hashlib
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import UserError

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The numeric tensors of a file by name; a file that holds one bare tensor calls it "".

    A list, a tuple and a dict with the keys 0, 1, ... (or 1, 2, ...) of equal-shaped tensors are one stacked tensor.
    `.npy` files are mapped, not read: they may be larger than memory.

    Args:
        path: one of `SUFFIXES`. `.pt` and `.pth` are read with `weights_only=True`.

    Raises:
        UserError: if the file is damaged, of another type, holds no tensor, tensors that do not stack, or would have
            to be unpickled.
    """
    try:
        found = _READERS[path.suffix.lower()](path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: holds Python objects besides tensors, which are never unpickled; "
            f"load it where it was made and save one tensor: np.save({path.stem!r}, array)"
        ) from error
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: cannot be read as {path.suffix}: {reason}; export it again") from error
    if not found:
        raise UserError(f"{path}: holds no numeric array; save one with np.save or torch.save(tensor, path)")
    return {"": stacked(found, path)} if all(name.isdecimal() for name in found) else found


def stacked(tensors: dict[str, Tensor], path: Path) -> Tensor:
    """One tensor of several: a single one as it is, others along a new first dimension.

    Args:
        tensors: of one shape. Names that are numbers give the order; other tensors keep the order of the file.
        path: the file they are from, for the message.

    Raises:
        UserError: if shapes differ, or if names that are numbers do not count 0, 1, ... or 1, 2, ....
    """
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    shapes = sorted({tuple(tensor.shape) for tensor in tensors.values()})
    if len(shapes) > 1:
        raise UserError(
            f"{path}: holds {len(tensors)} tensors of different shapes, {', '.join(map(str, shapes[:4]))}, which do "
            "not stack; save one tensor with torch.save(tensor, path)"
        )
    names = list(tensors)
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
        numbers = [int(name) for name in names]
        missing = set(range(numbers[0], numbers[-1] + 1)) - set(numbers)
        if missing or numbers[0] > 1:
            raise UserError(
                f"{path}: its {len(names)} tensors are named {numbers[0]} to {numbers[-1]}, so that the place of "
                "each is unclear; name them 0, 1, 2, ... without gaps"
            )
    return torch.stack([tensors[name] for name in names])


def digest_files(files: Iterable[Path]) -> str:
    """sha256 over names and contents of files, sorted by name; hexadecimal."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.name):
        with file.open("rb") as handle:
            total.update(f"{file.name}\0".encode() + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()


def _npy(path: Path) -> dict[str, Tensor]:
    return {"": torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))}


def _npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "iuf"}


def _safetensors(path: Path) -> dict[str, Tensor]:
    return dict(load_file(path))


def _torch(path: Path) -> dict[str, Tensor]:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, list | tuple):
        loaded = dict(enumerate(loaded))
    named = loaded if isinstance(loaded, dict) else {"": loaded}
    return {str(name): value.detach() for name, value in named.items() if isinstance(value, Tensor)}


_READERS = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
