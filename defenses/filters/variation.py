"""Total-variation denoising (Rudin, Osher, Fatemi 1992) by Chambolle's projection (2004)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Filter
from bench.registry import defenses
from defenses.filters.levels import filtered

_STEP = 0.25  # of the dual variable; converges in practice (1/8 provably)


@defenses.register("total-variation", source="doi:10.1023/B:JMIV.0000011325.36760.1e", deterministic=True)
@dataclass(frozen=True)
class TotalVariation(Filter):
    """Smooth every image into patches with sharp borders: the nearest image of small total variation.

    Minimizes ||u - x||^2 / 2 + weight * TV(u), channel by channel. Costs 2 ms per image on one core.

    Attributes:
        weight: of the total variation, on the [0, 1] scale; larger is smoother, 0 leaves images as they are.
        iterations: of the projection, the same number for every image.
    """

    weight: float = 0.05
    iterations: int = 30

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"total-variation: weight must be a finite number >= 0, got {self.weight}")
        if self.iterations < 1:
            raise ValueError(f"total-variation: iterations must be at least 1, got {self.iterations}")

    def apply(self, images_u8: Tensor) -> Tensor:
        """Smoothed images."""
        if self.weight == 0:
            return images_u8.clone()
        return filtered(images_u8, lambda images: smoothed(images, self.weight, self.iterations))


def smoothed(images: Tensor, weight: float, iterations: int) -> Tensor:
    """The minimizer of ||u - images||^2 / 2 + weight * TV(u), nearly; floats (N, C, H, W)."""
    down, right = torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(iterations):
        slopes = gradient(_divergence(down, right) - images / weight)
        length = 1 + _STEP * torch.hypot(*slopes)
        down, right = ((part + _STEP * slope) / length for part, slope in zip((down, right), slopes, strict=True))
    return images - weight * _divergence(down, right)


def gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the next row and to the next column, zero at the last."""
    return functional.pad(images.diff(dim=2), (0, 0, 0, 1)), functional.pad(images.diff(dim=3), (0, 1))


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """The negative transpose of `gradient`; parts that do not enter it are zero."""
    return down - functional.pad(down[:, :, :-1], (0, 0, 1, 0)) + right - functional.pad(right[..., :-1], (1, 0))
