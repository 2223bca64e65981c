"""Reads tensors from files other people wrote, without ever unpickling code."""

import hashlib
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct as reconstruct
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.datasets.inputs import refuse_device, refuse_pointer
from bench.errors import UserError

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")

_NPZ = "{{k: np.stack(list(v)) if v.dtype == object else v for k, v in np.load({path!r}, allow_pickle=True).items()}}"
_PICKLES = {
    ".npy": ("import numpy as np", "np.load({path!r}, allow_pickle=True).tolist()"),
    ".npz": ("import numpy as np", _NPZ),
    ".pt": ("import torch, numpy as np", "torch.load({path!r}, map_location='cpu', weights_only=False)"),
    ".pth": ("import torch, numpy as np", "torch.load({path!r}, map_location='cpu', weights_only=False)"),
}
PICKLES = (".pkl", ".pickle", ".p")
_PLAIN_PICKLE = ("import pickle, numpy as np", "pickle.load(open({path!r}, 'rb'))")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The numeric tensors of a file by name; a file that holds one bare tensor calls it "".

    A list, a tuple and a dict with the keys 0, 1, ... (or 1, 2, ...) of equal-shaped tensors are one stacked tensor.

    Raises:
        UserError: as `read_named` does, and for tensors that do not stack.
    """
    found = read_named(path)
    return {"": stacked(found, path)} if all(name.isdecimal() for name in found) else found


def read_named(path: Path) -> dict[str, Tensor]:
    """The numeric tensors of a file by name; a bare tensor is "", those of a list are "0", "1", ....

    A list of (image, label) pairs is "images", stacked, and "labels".

    `.npy` files are mapped, not read: they may be larger than memory.

    Args:
        path: one of `SUFFIXES`. `.pt` and `.pth` are read with `weights_only=True`, in which NumPy's numeric arrays
            are allowed besides tensors.

    Raises:
        UserError: if the file is damaged, of another type, holds no tensor or would have to be unpickled.
    """
    refuse_device(path)
    refuse_pointer(path)
    try:
        found = _READERS[path.suffix.lower()](path)
    except pickle.UnpicklingError as error:
        raise UserError(conversion(path, "holds Python objects besides tensors")) from error
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "Object arrays" in reason or "Python objects" in reason:  # NumPy's words when it reads and when it maps
            raise UserError(conversion(path, "holds Python objects besides numbers")) from error
        raise UserError(f"{path}: cannot be read as {path.suffix}: {reason}; export it again") from error
    if not found:
        raise UserError(f"{path}: holds no numeric array; save one with np.save or torch.save(tensor, path)")
    return found


def conversion(path: Path, reason: str) -> str:
    """Problem of a pickle, and three lines of Python by which the user can convert it."""
    imports, load = _PICKLES.get(path.suffix.lower(), _PLAIN_PICKLE)
    array, archive = f"{path.stem}-converted.npy", f"{path.stem}-converted.npz"
    return (
        f"{path}: {reason} and is never unpickled, because that runs any program in it. If you trust its source, run "
        f"these three lines of Python at your own risk; they write {array}, or {archive} of a dict or a data set:\n"
        f"    {imports}\n"
        f"    found = {load.format(path=str(path))}\n"
        f"    np.savez({archive!r}, **{{str(k): found[k] for k in found}}) if isinstance(found, dict) "
        f"else np.savez({archive!r}, **dict(zip(('images', 'labels'), map(np.stack, zip(*found))))) "
        f"if isinstance(found[0], tuple) else np.save({array!r}, np.stack(found))"
    )


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


def digest_files(files: Iterable[Path], root: Path | None = None) -> str:
    """sha256 over names (relative to `root`, if given) and contents of files, sorted by name; hexadecimal."""
    named = {file.relative_to(root).as_posix() if root else file.name: file for file in files}
    total = hashlib.sha256()
    for name, file in sorted(named.items()):
        with file.open("rb") as handle:
            total.update(f"{name}\0".encode() + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()


def _npy(path: Path) -> dict[str, Tensor]:
    return {"": torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))}


def _npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "iufb"}


def _safetensors(path: Path) -> dict[str, Tensor]:
    return dict(load_file(path))


def _torch(path: Path) -> dict[str, Tensor]:
    with torch.serialization.safe_globals(_NUMPY):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if _are_pairs(loaded):
        images = {str(i): torch.as_tensor(image) for i, (image, _) in enumerate(loaded)}
        return {"images": stacked(images, path).detach(), "labels": torch.tensor([int(label) for _, label in loaded])}
    if isinstance(loaded, list | tuple):
        loaded = dict(enumerate(loaded))
    named = loaded if isinstance(loaded, dict) else {"": loaded}
    arrays = {str(name): torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in named.items()}
    return {name: value.detach() for name, value in arrays.items() if isinstance(value, Tensor)}


def _are_pairs(loaded: object) -> bool:
    """True if it lists (image, label), as a data set that was saved item by item does."""
    return (
        isinstance(loaded, list | tuple)
        and len(loaded) > 0
        and all(isinstance(item, list | tuple) and len(item) == 2 for item in loaded)
        and all(isinstance(image, Tensor | np.ndarray) and image.ndim > 0 for image, _ in loaded)
        and all(isinstance(y, int) or (isinstance(y, Tensor | np.ndarray) and y.ndim == 0) for _, y in loaded)
    )


def _numeric_dtype(code: str, align: bool = False, copy: bool = False) -> "np.dtype[Any]":
    """The dtype of a pickled array, if it is a plain number."""
    if code not in _NUMERIC:
        raise pickle.UnpicklingError(f"dtype {code!r} is not numeric")
    return np.dtype(code)


_NUMERIC = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
# What a pickled numeric array names: its constructor under the old and the new name, its class, its dtype. The dtype's
# own constructor would also make object arrays, so a guard stands in for it.
_NUMPY: list[Any] = [
    *((reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.ndarray,
    (_numeric_dtype, "numpy.dtype"),
    *(type(np.dtype(code)) for code in _NUMERIC),
]
_READERS = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
