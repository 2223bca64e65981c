"""Arrays in a file: which one is the poison, in which layout, and which of its entries belongs to which image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from attacks.from_file.found import RESTORED, entries_of
from bench.api import DataInfo, ImageSet
from bench.datasets.inputs import Note, read_labels
from bench.datasets.tensor_files import read_named, stacked
from bench.errors import UserError

_ARRAYS = ("images", "perturbation", "noise", "delta", "x_train")
_LABELS = ("labels", "y_train", "targets")
_POSITIONS = ("indices", "index", "poison_indices", "poison_ids")
_MASK = "mask"


@dataclass(frozen=True)
class Wanted:
    """Statements of the user about a file; see `FromFile`."""

    array: str
    content: Literal["auto", "images", "noise"]
    wise: Literal["auto", "sample", "class"]


@dataclass(frozen=True)
class Located:
    """An array of a file, its entries assigned to images but not yet looked at.

    Attributes:
        values: (n, C, H, W) of any numeric type; perhaps mapped.
        entry_of: see `Found`.
        wise: whether there is an entry for each image or for each class.
        notes: see `Found`.
    """

    path: Path
    values: Tensor
    entry_of: Tensor
    wise: Literal["sample", "class"]
    notes: tuple[str, ...]


def locate(path: Path, wanted: Wanted, train: ImageSet) -> Located:
    """The array that holds the poison.

    Args:
        path: of one of the types of `bench.datasets.tensor_files`.
        wanted: what the user says.
        train: the clean set.

    Raises:
        UserError: if the file cannot be read, or its names, labels, shape or number of entries do not fit.
    """
    named = read_named(path)
    notes: list[str] = []
    values, positions = _chosen(named, path, wanted, train, notes.append)
    values = _channels_first(values, train.info, path)
    wise = _wise(values, positions, path, wanted, train)
    if wise == "class":
        return Located(path, values, train.labels, wise, tuple(notes))
    positions = torch.arange(len(train)) if positions is None else positions
    return Located(path, values, entries_of(positions, len(train)), wise, tuple(notes))


def _chosen(
    named: dict[str, Tensor], path: Path, wanted: Wanted, train: ImageSet, note: Note
) -> tuple[Tensor, Tensor | None]:
    """The array to import, and the positions of its entries (None: as many as the set, or one for each class)."""
    if len(named) > 1 and all(name.isdecimal() for name in named):
        numbers = sorted(int(name) for name in named)
        gaps = numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1
        if not gaps and numbers[0] == 1:
            note(f"from-file: {path}: the names 1..{len(numbers)} were read as images from 0")
        values = stacked({str(i): named[str(number)] for i, number in enumerate(numbers)}, path)
        return values, _valid(torch.tensor(numbers), path, train) if gaps else None
    values = _named(named, path, wanted)
    positions = None
    for name in _POSITIONS:
        if name in named:
            positions = _valid(_numbers(named[name], f"from-file: {path}: {name!r}", note), path, train)
    if positions is None and _MASK in named and named[_MASK].shape == (len(train),):
        inside = named[_MASK].bool().nonzero().flatten()
        if len(values) == len(inside):
            positions = inside
    for name in _LABELS:
        if name in named:
            stored = read_labels(_plain(named[name]), f"from-file: {path}: {name!r}", note)
            _check_labels(stored, name, positions, path, train, note)
    return values, positions


def _named(named: dict[str, Tensor], path: Path, wanted: Wanted) -> Tensor:
    if wanted.array:
        if wanted.array not in named:
            raise UserError(f"from-file: {path} has no array {wanted.array!r}; it has: {', '.join(named)}")
        return named[wanted.array]
    candidates = [name for name in named if name not in (*_LABELS, *_POSITIONS, _MASK)]
    candidates = [name for name in candidates if named[name].dtype != torch.bool] or candidates
    known = candidates if len(candidates) == 1 else [name for name in _ARRAYS if name in named]
    if len(known) != 1:
        raise UserError(f"from-file: {path} holds several arrays; choose one with array=: {', '.join(named)}")
    return named[known[0]]


def _plain(values: Tensor) -> Any:
    """A NumPy array; bfloat16, which NumPy lacks, as float32."""
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _numbers(values: Tensor, where: str, note: Note) -> Tensor:
    """Positions, int64 (n,), from whole numbers of any type, (n,) or (n, 1)."""
    if values.ndim == 2 and values.shape[1] == 1:
        note(f"{where} of shape {tuple(values.shape)} was read as ({len(values)},)")
        values = values[:, 0]
    if values.ndim != 1 or values.dtype == torch.bool or not torch.equal(values.double(), values.double().round()):
        raise UserError(
            f"{where} must hold the position of each entry as a whole number, (n,); got "
            f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}; a truth value for each image is a "
            f"{_MASK!r}"
        )
    return values.to(torch.int64)


def _valid(positions: Tensor, path: Path, train: ImageSet) -> Tensor:
    if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(train):
        from_one = "; if they count from 1, subtract 1" if int(positions.min()) > 0 else ""
        raise UserError(
            f"from-file: {path} names positions {int(positions.min())}..{int(positions.max())}, but "
            f"{train.info.name} has 0..{len(train) - 1}{from_one}"
        )
    if len(torch.unique(positions)) < len(positions):
        raise UserError(f"from-file: {path} names a position twice; give each image once")
    return positions


def _check_labels(stored: Tensor, name: str, positions: Tensor | None, path: Path, train: ImageSet, note: Note) -> None:
    expected = train.labels if positions is None or len(stored) == len(train) else train.labels[positions]
    if torch.equal(stored, expected):
        return
    if torch.equal(stored, expected + 1):
        note(f"from-file: {path}: {name!r} count classes from 1; they agree with the set's, which count from 0")
        return
    why = "it is of another data set or in another order: sort it as the training set, or remove them"
    if torch.equal(stored, expected.sort().values):
        why = f"they are sorted by class: {RESTORED}"
    raise UserError(f"from-file: {path}: its {name!r} differ from the labels of {train.info.name}; {why}")


def _channels_first(values: Tensor, info: DataInfo, path: Path) -> Tensor:
    channels, height, width = info.shape
    if values.shape[1:] == info.shape:
        return values
    if values.shape[1:] == (height, width, channels):
        return values.permute(0, 3, 1, 2)
    raise UserError(
        f"from-file: {path} holds {tuple(values.shape)}, but {info.name} needs (N, {channels}, {height}, {width}) "
        f"or (N, {height}, {width}, {channels}); resize or transpose it"
    )


def _wise(
    values: Tensor, positions: Tensor | None, path: Path, wanted: Wanted, train: ImageSet
) -> Literal["sample", "class"]:
    """Tells whether there is an entry for each image or for each class, by their number."""
    if positions is not None:
        if len(values) != len(positions):
            raise UserError(f"from-file: {path} has {len(values)} entries, but {len(positions)} positions for them")
        return "sample"
    expected: dict[Literal["sample", "class"], int] = {"sample": len(train)}
    if wanted.content != "images" and values.dtype != torch.uint8:
        expected["class"] = train.info.num_classes
    expected = {wise: count for wise, count in expected.items() if wanted.wise in ("auto", wise)}
    fits = [wise for wise, count in expected.items() if len(values) == count]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UserError(f"from-file: {path} has {len(values)} entries, which fits both; set wise=sample or class")
    choices = " or ".join(f"{count} ({wise}-wise)" for wise, count in expected.items())
    raise UserError(
        f"from-file: {path} has {len(values)} entries, the data set needs {choices}; if they poison a part of the set, "
        f"say which with an array {_POSITIONS[0]!r} next to them (npz, or a dict)"
    )
