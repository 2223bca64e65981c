"""COIN: every pixel of a training image is taken from a random place nearby (Li et al., AAAI 2025, arXiv:2311.18403).

Made against poisons that are a multiplication of the image with one matrix per class (CUDA): after it, that matrix is
another one at every pixel.

Deviation: the learning rate falls by the victim's own schedule, over this defense's number of epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.api import Context, LossDefense, Recipe
from bench.registry import defenses


@defenses.register("coin", source="arXiv:2311.18403")
@dataclass(frozen=True)
class Coin(LossDefense):
    """Train on images whose pixels come from random places up to two pixels away, anew in every epoch.

    Costs next to nothing. Removes fine detail with the poison, and with it some clean accuracy. Poisons that add noise
    (EM, REM) mostly survive.

    Attributes:
        distance: largest displacement of a pixel, in pixels, to either side; along rows and along columns.
        epochs: of the victim's training; None keeps the victim's number.
        weight_decay: of the victim's training; None keeps the victim's.
    """

    distance: float = 2.0
    epochs: int | None = 80
    weight_decay: float | None = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.distance) and self.distance >= 0):
            raise ValueError(f"coin: distance must be a finite number of pixels >= 0, got {self.distance}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"coin: epochs must be at least 1 or none, got {self.epochs}")
        if self.weight_decay is not None and not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"coin: weight_decay must be a finite number >= 0 or none, got {self.weight_decay}")

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this defense's epochs and weight decay."""
        if self.weight_decay is not None:
            recipe = replace(recipe, weight_decay=self.weight_decay)
        return recipe if self.epochs is None else recipe.lasting(self.epochs)

    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The displaced images."""
        return displaced(images_01, self.distance, ctx.stream("displacements"))


def displaced(images_01: Tensor, distance: float, generator: torch.Generator) -> Tensor:
    """Each pixel, in all channels, from its own random place; bilinear, and a border continues at the other side.

    Args:
        images_01: float (B, C, H, W); not modified.
        distance: largest displacement in pixels along each axis, drawn uniformly for every image and pixel.
        generator: on the device.
    """
    count, channels, height, width = images_01.shape
    moves = distance * (2 * torch.rand((2, count, height, width), generator=generator, device=generator.device) - 1)
    places = torch.arange(height, device=moves.device)[:, None] + moves[0]
    columns = torch.arange(width, device=moves.device) + moves[1]
    top, left = places.floor(), columns.floor()
    below, beyond = (places - top)[:, None], (columns - left)[:, None]
    flat = images_01.flatten(2)

    def pixel(row: int, column: int) -> Tensor:
        index = (top.long() + row) % height * width + (left.long() + column) % width
        return flat.gather(2, index.view(count, 1, -1).expand(-1, channels, -1)).view(images_01.shape)

    upper = torch.lerp(pixel(0, 0), pixel(0, 1), beyond)
    lower = torch.lerp(pixel(1, 0), pixel(1, 1), beyond)
    return torch.lerp(upper, lower, below)
