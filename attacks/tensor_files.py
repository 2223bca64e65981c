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

    `.npy` files are mapped, not read: they may be larger than memory.

    Args:
        path: one of `SUFFIXES`. `.pt` and `.pth` are read with `weights_only=True`.

    Raises:
        UserError: if the file is damaged, of another type, holds no tensor, or would have to be unpickled.
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
    return found


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
    named = loaded if isinstance(loaded, dict) else {"": loaded}
    return {str(name): value.detach() for name, value in named.items() if isinstance(value, Tensor)}


_READERS = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
