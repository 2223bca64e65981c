"""Random sharpening, then a low-pass filter, while the victim trains (RSK+FF, arXiv:2411.01742).

Deviations:
- The paper's convolution has no padding, so that images lose a border of one pixel. Here the border is mirrored, and
  networks with a fixed input size can be trained.
- Test images stay as they are; whether the paper filters them too was not found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import Context, LossDefense, Recipe
from bench.registry import defenses
from defenses.filters.cosine import low_pass


@defenses.register("sharpen-lowpass", source="arXiv:2411.01742")
@dataclass(frozen=True)
class SharpenLowPass(LossDefense):
    """Sharpen every training image with a random kernel, then keep its lowest frequencies, anew in every epoch.

    Made against poisons that convolve an image (CUDA). Costs next to nothing; fine detail is lost.

    Attributes:
        center: mean of the kernel's center; its four neighbors share 1 - center.
        deviation: standard deviation of the center and of each neighbor.
        keep: share of the rows and of the columns of cosine coefficients that stay.
        epochs: of the victim's training; None keeps the victim's number and schedule.
        batch_size: of the victim's training; None keeps the victim's.
    """

    center: float = 2.5
    deviation: float = 0.1
    keep: float = 0.3
    epochs: int | None = 60
    batch_size: int | None = 512

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and self.center >= 1):
            raise ValueError(f"sharpen-lowpass: center must be a finite number >= 1, got {self.center}")
        if not (math.isfinite(self.deviation) and self.deviation >= 0):
            raise ValueError(f"sharpen-lowpass: deviation must be a finite number >= 0, got {self.deviation}")
        if not 0 < self.keep <= 1:
            raise ValueError(f"sharpen-lowpass: keep must be in (0, 1], got {self.keep:g}")
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"sharpen-lowpass: {name} must be at least 1 or none, got {value}")

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this defense's epochs and batches; the victim's schedule keeps its shape."""
        if self.batch_size is not None:
            recipe = replace(recipe, batch_size=self.batch_size)
        return recipe if self.epochs is None else recipe.lasting(self.epochs)

    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The sharpened and filtered images; they may leave [0, 1] a little."""
        with torch.no_grad(), torch.autocast(images_01.device.type, enabled=False):
            sharp = sharpened(images_01, self.center, self.deviation, ctx.stream("kernels"))
            return low_pass(sharp, self.keep)


def sharpened(images_01: Tensor, center: float, deviation: float, generator: torch.Generator) -> Tensor:
    """Each image convolved with its own cross-shaped kernel and clipped to [0, 1].

    Args:
        images_01: float (B, C, H, W); not modified.
        center: mean of the middle weight c; the mean of each of the four others is (1 - c) / 4, so that a flat image
            nearly stays.
        deviation: of all five weights.
        generator: on the device.
    """
    draws = deviation * torch.randn((5, len(images_01), 1, 1, 1), generator=generator, device=generator.device)
    middle = center + draws[0]
    padded = functional.pad(images_01, (1, 1, 1, 1), mode="reflect")
    height, width = images_01.shape[2:]
    result = middle * images_01
    for draw, (row, column) in zip(draws[1:], ((0, 1), (2, 1), (1, 0), (1, 2)), strict=True):
        weight = (middle - 1) / 4 + draw
        result = result - weight * padded[:, :, row : row + height, column : column + width]
    return result.clamp(0, 1)
