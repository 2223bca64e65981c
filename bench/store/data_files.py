"""Data files in the safetensors format, hashed while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench.errors import naming

_CHUNK = 1 << 24
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # on some file systems
_DTYPES = {"torch.uint8": "U8", "torch.int8": "I8", "torch.int16": "I16", "torch.int64": "I64", "torch.bool": "BOOL"}
_DTYPES |= {"torch.float16": "F16", "torch.float32": "F32", "torch.float64": "F64", "torch.int32": "I32"}


@dataclass(frozen=True)
class DataFile:
    """Facts about a data file that was written.

    Attributes:
        path: of the file; it is not there if there were no tensors.
        checksum: sha256 of the file.
        size: in bytes.
        images_digest: sha256 of the file up to the end of `images`, or "" if it does not begin with them.
    """

    path: Path
    checksum: str = ""
    size: int = 0
    images_digest: str = ""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> DataFile:
    """Writes tensors chunk by chunk (the safetensors library copies whole tensors), each byte hashed once."""
    if not tensors:
        return DataFile(path)
    header: dict[str, object] = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = _entry(_DTYPES[str(tensor.dtype)], list(tensor.shape), [offset, end])
        offset = end
    checksum = hashlib.sha256()
    images_digest = ""
    with naming(path), path.open("wb") as file:

        def put(block: bytes | memoryview) -> None:
            file.write(block)
            checksum.update(block)

        put(_head(header))
        for number, (name, tensor) in enumerate(tensors.items()):
            data = tensor.contiguous().numpy().data.cast("B") if tensor.numel() else memoryview(b"")
            for start in range(0, len(data), _CHUNK):
                put(data[start : start + _CHUNK])
            if (number, name) == (0, "images"):
                images_digest = checksum.copy().hexdigest()
        file.flush()
        os.fsync(file.fileno())
        return DataFile(path, checksum.hexdigest(), file.tell(), images_digest)


def bytes_of_predictions(count: int) -> int:
    """Size of a file that holds one tensor, `predictions` int32 (count,): the data of a training."""
    return len(_head({"predictions": _entry("I32", [count], [0, 4 * count])})) + 4 * count


def _entry(dtype: str, shape: list[int], data_offsets: list[int]) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets}


def _head(header: Mapping[str, object]) -> bytes:
    """The bytes of a file before the first tensor, padded to a multiple of eight."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def reserve(path: Path, size: int) -> None:
    """Makes a file of zeros that has all its room on the disk, to be mapped.

    Without that, the first write to a mapped page that a full disk has no room for kills the process (SIGBUS).

    Raises:
        OSError: if the disk is too full; it names the file, which is gone.
    """
    with naming(path), path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except AttributeError:  # not on macOS and Windows
            file.truncate(size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                path.unlink()
                raise
            file.truncate(size)


def read_head(path: Path) -> bytes:
    """The bytes of a file before the first tensor."""
    with path.open("rb") as file:
        size = file.read(8)
        return size + file.read(int.from_bytes(size, "little"))
