"""k nearest neighbors on pixels: a victim that learns no features.

A control: a poison that a network takes for the class, because it is simple to learn, moves an image by a small part of
its distance to other images. What is left of the accuracy says how much of the damage is the learning of features.

`k` = 5 is ours: the papers on unlearnable examples that we know print no result of this classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Context, ImageSet
from bench.errors import UserError
from bench.registry import victims

_ENTRIES = 2**23  # of stored images at a time, in float64: 64 MB
_IMAGES = 4096  # at a time, at most


@victims.register("knn", deterministic=True)
@dataclass(frozen=True)
class Knn:
    """Vote of the k training images that are nearest on pixels (L2, in [0, 1]); nothing is trained.

    The class with most votes wins; of several with as many, the one that has the nearest image. Of images at the same
    distance, the one that comes first in the training set is nearer. Distances are exact, so that an answer does not
    depend on the device, the precision or the batch.

    Defenses that change the loss or the recipe are refused. The fit keeps the images alone: "x training" says nothing.
    Costs 2 x 3,072 operations in float64 for each pair of a test and a training image of 32 pixels.

    Attributes:
        k: images that vote, 1 to 100.
    """

    k: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 100:
            raise ValueError(f"k must be in 1..100, got {self.k}")

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if there are fewer than k training images."""
        if len(train) < self.k:
            raise UserError(f"k={self.k} images are to vote, and there are {len(train)} training images; choose k less")

    def fit(self, train: ImageSet, ctx: Context) -> nn.Module:
        """A network that holds the images, uint8, on the device."""
        self.check_fit(train)
        return _Nearest(train, self.k).to(ctx.device)


class _Nearest(nn.Module):
    """Votes (B, K) of the k nearest of the stored images; up to half a vote more for the class that is nearest."""

    images: Tensor
    labels: Tensor

    def __init__(self, train: ImageSet, k: int) -> None:
        super().__init__()
        self._k, self._classes = k, train.info.num_classes
        self.register_buffer("images", train.images.flatten(1))
        self.register_buffer("labels", train.labels)

    def forward(self, images_01: Tensor) -> Tensor:
        levels = (images_01.flatten(1) * 255).round()
        return torch.cat([self._votes(part.double()) for part in levels.split(self._at_once)])

    @property
    def _at_once(self) -> int:
        return min(_IMAGES, max(1, _ENTRIES // self.images.shape[1]))

    def _votes(self, levels: Tensor) -> Tensor:
        labels = self.labels[self._nearest(levels)]
        ranks = torch.arange(self._k, device=labels.device)[:, None]
        votes_for = labels[:, :, None] == torch.arange(self._classes, device=labels.device)
        nearest = torch.where(votes_for, ranks, self._k).amin(dim=1)
        return votes_for.sum(dim=1) + (1 - nearest / self._k) / 2

    def _nearest(self, levels: Tensor) -> Tensor:
        """Positions (B, k) of the nearest stored images, the nearest first.

        Squared distances are whole numbers, below 2**53, which float64 matrix products hold. Distance and position in
        one number, below 2**63 for up to 10**8 images of 224 pixels, give an order without ties.
        """
        count = len(self.images)
        best = torch.empty(len(levels), 0, dtype=torch.int64, device=levels.device)
        for start in range(0, count, self._at_once):
            stored = self.images[start : start + self._at_once].double()
            squares = levels.square().sum(dim=1, keepdim=True) + stored.square().sum(dim=1)
            distances = (squares - 2 * levels @ stored.T).long()
            positions = torch.arange(start, start + len(stored), device=levels.device)
            best = torch.cat([best, distances * count + positions], dim=1)
            best = best.topk(min(self._k, best.shape[1]), largest=False).values
        return best % count
