"""A poison as it was found: which entry belongs to which image of the training set, and how it becomes that image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bench.api import ImageSet, PartialPoison

RESTORED = "put them back with fixed[np.argsort(labels, kind='stable')] = array"
"""Remedy for entries that are sorted by class; `labels` are those of the training set."""

Onto = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Found:
    """Content of a file or a folder for a training set of N images.

    Attributes:
        path: of the file or folder.
        content: whole images or noise.
        entry_of: int64 (N,), the entry of each image; -1 for images that it does not hold.
        onto: from entries, int64 (n,), and the clean images, uint8 (n, C, H, W), to the poisoned ones, uint8.
        said: what was found out about it, to be logged.
        notes: conversions that were done while reading.
    """

    path: Path
    content: Literal["images", "noise"]
    entry_of: Tensor
    onto: Onto
    said: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> Tensor:
        """Positions of the images it holds, int64, ascending."""
        return (self.entry_of >= 0).nonzero().flatten()

    def poisoned(self, train: ImageSet, rows: Tensor) -> Tensor:
        """The poisoned images at these positions, all of them held: uint8 (n, C, H, W)."""
        return self.onto(self.entry_of[rows], train.images[rows])


def entries_of(positions: Tensor, count: int) -> Tensor:
    """`entry_of` of a file whose entries have these positions in a set of so many images."""
    entry_of = torch.full((count,), -1, dtype=torch.int64)
    entry_of[positions] = torch.arange(len(positions))
    return entry_of


def described(rows: Tensor, labels: Tensor) -> str:
    """Images in words; classes all of whose images are among them are named."""
    classes = torch.unique(labels[rows])
    if len(rows) == 1:
        return f"image {int(rows[0])}, of class {int(classes[0])}"
    of = "classes " + ", ".join(str(int(c)) for c in classes) if len(classes) <= 5 else f"{len(classes)} classes"
    of = f"class {int(classes[0])}" if len(classes) == 1 else of
    whole = whole_classes(rows, labels)
    all_of = f", all images of class {' and '.join(map(str, whole))}" if 0 < len(whole) <= 5 else ""
    return f"{len(rows)} images of {of}{all_of}, the first is image {int(rows[0])}"


def by_class(rows: Tensor, those: Tensor, labels: Tensor) -> str:
    """Number of the images at these positions that are among those, bool (n,), in words, class by class."""
    counts = torch.bincount(labels[rows])
    hits = torch.bincount(labels[rows[those]], minlength=len(counts))
    classes = hits.nonzero().flatten().tolist()
    named = [f"class {c}: {int(hits[c])} of {int(counts[c])}" for c in classes[:5]]
    more = [f"{len(classes) - 5} more classes"] if len(classes) > 5 else []
    return f"{', '.join(named + more)} (the first is image {int(rows[those][0])})"


def whole_classes(rows: Tensor, labels: Tensor) -> list[int]:
    """The classes all of whose images are among these positions."""
    classes, counts = torch.unique(labels[rows], return_counts=True)
    return [int(c) for c, n in zip(classes, counts, strict=True) if int((labels == c).sum()) == int(n)]


def without_classes(broken: list[int], num_classes: int) -> str:
    """Remedy that leaves classes out; empty if none would be left."""
    rest = [number for number in range(num_classes) if number not in broken]
    if not broken or not rest:
        return ""
    return f", or leave such classes out with classes={PartialPoison(classes='/'.join(map(str, rest))).classes}"
