"""Budgets: bounds on the distance of a poison from the clean images, in one norm or, for chains, in several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.store.results import NO_BOUND

_ROUNDING = 0.5 / 255  # largest error of one entry when an image is rounded to 8 bits
_GUARD = 1e-6  # of a level: 8 / 255 * 255 may come out as 7.9999999


@dataclass(frozen=True)
class Budget:
    """Largest distance of a poisoned image from the clean one: a norm and its radius on the [0, 1] scale.

    `linf` and `l2` are over all entries of an image; `l0` counts pixels (all channels of a position are one pixel).
    `Budget("none")` promises no bound (convolutions, shifts of color): what is changed is measured and shown only.
    """

    norm: Literal["linf", "l2", "l0", "none"]
    radius: float = math.inf

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2", "l0", "none"):
            raise ValueError(f"budget norm must be linf, l2, l0 or none, got {self.norm!r}")
        if self.norm == "none":
            if self.radius != math.inf:
                raise ValueError(f"a budget without a norm has no radius, got {self.radius}")
        elif not (math.isfinite(self.radius) and self.radius >= 0):
            raise ValueError(f"budget radius must be a finite number >= 0, got {self.radius}")

    def __str__(self) -> str:
        if self.norm == "none":
            return NO_BOUND
        if self.norm == "linf":
            return f"linf:{self.radius * 255:g}/255"
        return f"{self.norm}:{self.radius:g}"

    @property
    def levels(self) -> int:
        """The radius of an L-inf budget in whole levels of 8 bits."""
        return math.floor(255 * self.radius + _GUARD)

    def measure(self, clean_u8: Tensor, poisoned_u8: Tensor) -> Tensor:
        """Size of each image's perturbation in this norm (L2 for none), float64 (N,); inputs uint8 (N, C, H, W)."""
        difference = poisoned_u8.float().sub_(clean_u8)  # whole levels: exact, and so are sums of squares along a row
        if self.norm == "linf":
            return difference.abs().amax(dim=(1, 2, 3)).double() / 255
        if self.norm in ("l2", "none"):
            return difference.square().sum(dim=3).double().sum(dim=(1, 2)).sqrt() / 255
        return (difference != 0).any(dim=1).sum(dim=(1, 2)).double()

    def allowed(self, shape: tuple[int, int, int]) -> float:
        """The largest measured size that respects the budget once images are rounded to 8 bits.

        L-inf budgets are whole levels: floor(255 * radius). Rounding moves an entry by at most half a level, which
        adds up to 0.5 * sqrt(C*H*W) / 255 to an L2 norm. Without a norm everything is allowed.
        """
        if self.norm == "linf":
            return self.levels / 255 + 1e-9
        if self.norm == "l2":
            return self.radius + _ROUNDING * math.sqrt(math.prod(shape)) + 1e-6
        return self.radius


@dataclass(frozen=True)
class BudgetSum:
    """Largest distance of a poisoned image from the clean one if several budgets are spent on it, one after the other.

    A perturbation belongs to the sum if it splits into one perturbation for each budget; clipping keeps it there.
    """

    parts: tuple[Budget, ...]

    norm = "l2 of the rest"

    def __str__(self) -> str:
        return " + ".join(str(part) for part in self.parts)

    def measure(self, clean_u8: Tensor, poisoned_u8: Tensor) -> Tensor:
        """Part that L-inf and L0 budgets leave unexplained: its L2 norm, float64 (N,); 0 if the sum has no L2 part.

        The best split takes the L-inf radii off every entry, and of what is left the pixels with most energy.
        """
        levels = sum(part.levels for part in self._of("linf"))
        pixels = int(sum(part.radius for part in self._of("l0")))
        difference = (poisoned_u8.to(torch.int16) - clean_u8.to(torch.int16)).flatten(2)
        rest = (difference.abs() - levels).clamp(min=0).to(torch.int64).square().sum(dim=1)
        largest = rest.topk(min(pixels, rest.shape[1]), dim=1).values
        return (rest.sum(dim=1) - largest.sum(dim=1)).double().sqrt() / 255

    def allowed(self, shape: tuple[int, int, int]) -> float:
        """The largest measured size that respects the sum: that of its L2 parts, each rounded to 8 bits."""
        return sum((part.allowed(shape) for part in self._of("l2")), 1e-9)

    def _of(self, norm: str) -> list[Budget]:
        return [part for part in self.parts if part.norm == norm]


def total_budget(parts: Iterable[Budget]) -> Budget | BudgetSum:
    """Sum of the budgets of several attacks; without a bound if one of them has none."""
    budgets = tuple(parts)
    return Budget("none") if any(part.norm == "none" for part in budgets) else BudgetSum(budgets)
