"""Part of a data set with the same share of every class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bench.api import ImageSet, draw_per_class
from bench.datasets.splits import Splits
from bench.errors import UserError
from bench.formats import counted


class Sizes(NamedTuple):
    """Numbers of training images, test images and classes, and the shape of an image: channels, height, width."""

    train_images: int
    test_images: int
    num_classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Base of data sets of which a part can be taken.

    One whose sizes are known before it is read has them as `sizes`, with which `bench verify` compares cells.

    Attributes:
        train: number of training images, drawn with the same share of every class; all of them if none.
        test: the same for the test images.
        clean: number of training images that are kept from every attack, drawn in the same way from those that `train`
            leaves; only defenses that declare clean data train on them.
        seed: of the draw.
    """

    train: int | None = None
    test: int | None = None
    clean: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}; leave it out to take all images")
        if self.clean < 0:
            raise ValueError(f"clean must be at least 0, got {self.clean}")

    def part_of(self, whole: Sizes) -> Sizes:
        """Sizes of what `cut` leaves."""
        train = whole.train_images - self.clean if self.train is None else self.train
        test = whole.test_images if self.test is None else self.test
        return whole._replace(train_images=max(1, train), test_images=test)

    def cut(self, splits: Splits) -> Splits:
        """The chosen part of both splits.

        Raises:
            UserError: if more images are asked for than there are.
        """
        if self.train is None and self.test is None and not self.clean:
            return splits
        train, clean = splits.train, None
        if self.clean:
            train, clean = self._kept(train)
        return Splits(
            _stratified(train, self.train, self.seed, "train"),
            _stratified(splits.test, self.test, self.seed, "test"),
            notes=splits.notes,
            clean=clean,
        )

    def _kept(self, train: ImageSet) -> tuple[ImageSet, ImageSet]:
        """Training images that are offered to attacks, and those that are kept from them.

        The first are drawn as without `clean`.
        """
        wanted = max(1, len(train) - self.clean) if self.train is None else self.train
        if wanted + self.clean > len(train):
            asked = f"train={wanted} and " * (self.train is not None)
            raise UserError(
                f"{train.info.name}: {asked}clean={self.clean} asked for, but there are only "
                f"{counted(len(train), 'training image')}"
            )
        rows = stratified_rows(train.labels, wanted, torch.Generator().manual_seed(self.seed))
        left = torch.ones(len(train), dtype=torch.bool)
        left[rows] = False
        others = left.nonzero().flatten()
        kept = stratified_rows(train.labels[others], self.clean, torch.Generator().manual_seed(self.seed))
        return train.take(rows), train.take(others[kept])


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
