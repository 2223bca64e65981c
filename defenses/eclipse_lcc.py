"""Lightweight corruption compensation: the second stage of ECLIPSE (Hu et al., ESORICS 2024), alone.

ECLIPSE purifies with a diffusion model that its authors trained on test images, and then trains on corrupted images.
This is the training alone, which knows nothing beyond the poisoned set; nobody has published figures for it alone.

Deviation: the corrupted images are clipped to [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Context, LossDefense
from bench.registry import defenses

_GRAY = (0.299, 0.587, 0.114)


@defenses.register("eclipse-lcc", source="ESORICS 2024")
@dataclass(frozen=True)
class LightweightCorruption(LossDefense):
    """Train on images of which some are gray and all are noisy, anew in every epoch. Costs next to nothing.

    Attributes:
        gray: probability of making an image gray.
        sigma: standard deviation of the Gaussian noise, on the [0, 1] scale.
    """

    gray: float = 0.4
    sigma: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.gray <= 1:
            raise ValueError(f"eclipse-lcc: gray is a probability in 0..1, got {self.gray}")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(f"eclipse-lcc: sigma must be a finite number >= 0, got {self.sigma}")

    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The corrupted images."""
        generator = ctx.stream("corruption")
        chosen = torch.rand((len(images_01), 1, 1, 1), generator=generator, device=generator.device) < self.gray
        images = torch.where(chosen, _in_gray(images_01), images_01)
        noise = torch.randn(images_01.shape, generator=generator, device=generator.device)
        return (images + self.sigma * noise).clamp(0, 1)


def _in_gray(images: Tensor) -> Tensor:
    """Luminance in every channel."""
    if images.shape[1] != 3:
        return images
    red, green, blue = (weight * images[:, i : i + 1] for i, weight in enumerate(_GRAY))
    return (red + green + blue).expand_as(images)
