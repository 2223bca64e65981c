"""Part of a data set with the same share of every class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import ImageSet, draw_per_class
from bench.datasets.splits import Splits
from bench.errors import UserError
from bench.formats import counted


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
        raise UserError(
            f"{images.info.name}: {split}={count} asked for, but there are only {counted(len(images), 'image')}"
        )
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
