"""Small victims that train in seconds on a CPU: a five-layer convolutional network and a linear model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import DataInfo, Recipe
from bench.registry import victims
from victims.recipe_choice import RecipeChoice
from victims.recipes import RecipeName


class _Centered(nn.Module):
    """Shifts images from [0, 1] to about zero mean and unit deviation."""

    def forward(self, images_01: Tensor) -> Tensor:
        return (images_01 - 0.5) * 4


def _block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


@victims.register("small-cnn")
@dataclass(frozen=True, kw_only=True)
class SmallCnn(RecipeChoice):
    """Five 3x3 convolutions, the first at full resolution; ten seconds a training on two CPU cores.

    The first stride is 1: a network that strides at once does not see the local pattern of an AR poison.

    Attributes:
        preset: which stored recipe to train with.
        width: channels of the first layer; the others have 2, 2, 4 and 4 times as many.
    """

    preset: RecipeName = "demo"
    width: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.width <= 512:
            raise ValueError(f"width must be in 1..512, got {self.width}")

    @property
    def recipe(self) -> Recipe:
        """The stored recipe with this victim's changes."""
        return self.choose("small-cnn")

    def build(self, info: DataInfo) -> nn.Module:
        """Logits (B, K) from float images in [0, 1]; centers them inside."""
        w = self.width
        return nn.Sequential(
            _Centered(),
            _block(info.shape[0], w, 1),
            _block(w, 2 * w, 2),
            _block(2 * w, 2 * w, 2),
            _block(2 * w, 4 * w, 1),
            _block(4 * w, 4 * w, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * w, info.num_classes),
        )


@victims.register("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(RecipeChoice):
    """A linear model on the pixels: what a poison that is linearly separable fools first.

    Attributes:
        preset: which stored recipe to train with.
    """

    preset: RecipeName = "demo"
    lr: float | None = 0.01

    @property
    def recipe(self) -> Recipe:
        """The stored recipe with this victim's changes."""
        return self.choose("linear")

    def build(self, info: DataInfo) -> nn.Module:
        """Logits (B, K) from float images in [0, 1]; centers them inside."""
        pixels = int(torch.tensor(info.shape).prod())
        return nn.Sequential(_Centered(), nn.Flatten(), nn.Linear(pixels, info.num_classes))
