"""Class-wise patterns that no method finds: noise, regions and patches, the sanity rows of Sandoval-Segura et al.,
"What Can We Learn from Unlearnable Datasets?" (NeurIPS 2023, arXiv:2305.19254), whose code loads them from files.

A defense that does not undo these undoes little. How the authors drew them was not found; here noise is uniform in the
ball, and regions and patches are random signs times the radius. A tiled patch is our reading of their "patches".
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Budget, Context, DataInfo, ImageSet, PartialPoison, no_network, perturb
from bench.errors import UserError
from bench.registry import attacks


@dataclass(frozen=True, kw_only=True)
class _Pattern(PartialPoison, ABC):
    """Base of attacks that add one pattern a class; needs only labels.

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
    """

    eps: float = 8 / 255

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 / 255 - 1e-6 <= self.eps < 1:
            raise ValueError(
                f"eps is an L-inf radius on the [0, 1] scale, at least 1/255 and below 1, got {self.eps:g}; "
                "write eps=8/255"
            )

    @property
    def budget(self) -> Budget:
        """The L-inf ball of radius eps."""
        return Budget("linf", self.eps)

    work = no_network

    @abstractmethod
    def draw(self, info: DataInfo, generator: torch.Generator) -> Tensor:
        """The patterns on the scale of the radius: float (K, C, H, W) in -1..1, a different one for each class."""

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        patterns = self.eps * self.draw(train.info, ctx.generator("patterns"))
        with ctx.phase("perturb"):
            return perturb(train, lambda rows: patterns[train.labels[rows]], ctx, linf=self.eps)


@attacks.register("class-random", source="arXiv:2305.19254")
@dataclass(frozen=True, kw_only=True)
class ClassRandom(_Pattern):
    """Uniform noise, one draw for all images of a class; a high-frequency shortcut that JPEG removes.

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
    """

    def draw(self, info: DataInfo, generator: torch.Generator) -> Tensor:
        return 2 * torch.rand(info.num_classes, *info.shape, generator=generator) - 1


@attacks.register("regions", source="arXiv:2305.19254")
@dataclass(frozen=True)
class Regions(_Pattern):
    """Regions of constant color in a grid, one choice of colors a class; a low-frequency shortcut.

    Attributes:
        regions: their number, a square: 4 or 16 in the paper.
    """

    regions: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.regions < 1 or math.isqrt(self.regions) ** 2 != self.regions:
            raise ValueError(f"regions: regions must be a square number, got {self.regions}; the paper uses 4 and 16")

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if there are more classes than choices of colors, or more regions than pixels."""
        channels, height, width = train.info.shape
        if math.isqrt(self.regions) > min(height, width):
            raise UserError(f"regions: {self.regions} regions do not fit on {height}x{width} pixels; choose fewer")
        if train.info.num_classes > 2 ** (channels * self.regions):
            raise UserError(
                f"regions: {train.info.num_classes} classes do not fit on {self.regions} regions of {channels} "
                "channels; choose more regions"
            )

    def draw(self, info: DataInfo, generator: torch.Generator) -> Tensor:
        channels, height, width = info.shape
        side = math.isqrt(self.regions)
        signs = _distinct_signs(info.num_classes, channels * self.regions, generator).view(-1, channels, side, side)
        rows, columns = torch.arange(height) * side // height, torch.arange(width) * side // width
        return signs[..., rows[:, None], columns]

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        self.check_fit(train)
        return super().poison(train, ctx)


@attacks.register("patches", source="arXiv:2305.19254")
@dataclass(frozen=True)
class Patches(_Pattern):
    """One small random pattern a class, repeated over the image; crops leave it in place.

    Attributes:
        side: of the pattern in pixels: 4 or 8 in the paper.
    """

    side: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side < 1:
            raise ValueError(f"patches: side must be at least 1 pixel, got {self.side}; the paper uses 4 and 8")

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if there are more classes than patterns."""
        entries = train.info.shape[0] * self.side**2
        if train.info.num_classes > 2**entries:
            raise UserError(
                f"patches: {train.info.num_classes} classes do not fit on patterns of {entries} entries; raise side"
            )

    def draw(self, info: DataInfo, generator: torch.Generator) -> Tensor:
        channels, height, width = info.shape
        signs = _distinct_signs(info.num_classes, channels * self.side**2, generator)
        pattern = signs.view(-1, channels, self.side, self.side)
        return pattern[..., torch.arange(height)[:, None] % self.side, torch.arange(width) % self.side]

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        self.check_fit(train)
        return super().poison(train, ctx)


def _distinct_signs(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`count` different rows of -1 and 1, float32 (count, size)."""
    found: list[list[int]] = []
    while len(found) < count:
        signs = (2 * torch.randint(2, (size,), generator=generator) - 1).tolist()
        if signs not in found:
            found.append(signs)
    return torch.tensor(found, dtype=torch.float32)
