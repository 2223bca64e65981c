"""Training and test images of a selected data set, with the digests that root every key."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bench.api import ImageSet, draw_per_class
from bench.errors import UserError
from bench.registry import datasets
from bench.select.spec import select


class Dataset(Protocol):
    """Loads a data set. A frozen dataclass: its fields are its parameters."""

    def load(self, root: Path) -> Splits:
        """Reads (or downloads, or draws) the images; `root` is the folder of downloaded and prepared data."""
        ...


@dataclass(frozen=True)
class Splits:
    """Images that attacker and defender get (`train`) and images that only the judge sees (`test`).

    Attributes:
        notes: what was done to the stored data that their owner should know.
    """

    train: ImageSet
    test: ImageSet
    stored_digests: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def digests(self) -> tuple[str, str]:
        """`content_digest` of the training and of the test images; computed unless they were stored."""
        return self.stored_digests or (content_digest(self.train), content_digest(self.test))


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Base of data sets of which a part can be taken.

    Attributes:
        train: number of training images, drawn with the same share of every class; all of them if none.
        test: the same for the test images.
        seed: of the draw.
    """

    train: int | None = None
    test: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}; leave it out to take all images")

    def cut(self, splits: Splits) -> Splits:
        """The chosen part of both splits.

        Raises:
            UserError: if more images are asked for than there are.
        """
        if self.train is None and self.test is None:
            return splits
        return Splits(
            _stratified(splits.train, self.train, self.seed, "train"),
            _stratified(splits.test, self.test, self.seed, "test"),
            notes=splits.notes,
        )


def _stratified(images: ImageSet, count: int | None, seed: int, split: str) -> ImageSet:
    if count is None or count == len(images):
        return images
    if count > len(images):
        raise UserError(f"{images.info.name}: {split}={count} asked for, but there are only {len(images)} images")
    rows = stratified_rows(images.labels, count, torch.Generator().manual_seed(seed))
    return images.take(rows)


def stratified_rows(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` positions drawn without replacement, each class by its share (largest remainders), in ascending order."""
    sizes = torch.unique(labels, return_counts=True)[1]
    exact = [int(size) * count / len(labels) for size in sizes]
    quota = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda k: (quota[k] - exact[k], k))
    for k in by_remainder[: count - sum(quota)]:
        quota[k] += 1
    return draw_per_class(labels, quota, generator)


def content_digest(images: ImageSet) -> str:
    """sha256 of shape, labels, aspect ratios and pixels; reads memory-mapped images in chunks."""
    total = hashlib.sha256(f"{tuple(images.images.shape)} {images.info.num_classes}".encode())
    total.update(images.labels.contiguous().numpy().data)
    if images.aspect_ratios is not None:
        total.update(images.aspect_ratios.contiguous().numpy().data)
    for start in range(0, len(images), 4096):
        total.update(images.images[start : start + 4096].contiguous().numpy().data)
    return total.hexdigest()


@functools.lru_cache(maxsize=2)
def load(text: str, root: Path) -> Splits:
    """The data set a selection names, once a process.

    Raises:
        UserError: for an unknown name, missing or damaged files, labels out of range, one class only.
    """
    chosen = select(datasets, text)
    if len(chosen) != 1:
        raise UserError(f"one data set at a time, got {text!r}")
    selected = chosen[0]
    try:
        splits: Splits = selected.component.load(root)
    except ValueError as error:
        raise UserError(f"dataset {selected.text!r}: {error}") from error
    for name, split in (("training", splits.train), ("test", splits.test)):
        if len(split) == 0:
            raise UserError(f"dataset {selected.text!r} has no {name} images")
    present = torch.unique(splits.train.labels).tolist()
    if len(present) < 2:
        raise UserError(
            f"dataset {selected.text!r}: all {len(splits.train)} training images are of class {present[0]}, "
            "and there is nothing to tell apart; give images of at least 2 classes"
        )
    return splits
