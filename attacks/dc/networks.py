"""The two networks of DeepConfuse: a U-Net that makes noise of an image, and the classifier that learns from it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

_LEVELS = 4  # of the U-Net; the sides are halved between two
_CLASSIFIER = (32, 64, 128, 128, 128)  # channels; the paper prints them


class NoiseGenerator(nn.Module):
    """A U-Net: float images (B, C, H, W) in [0, 1] to noise of the same shape in [-1, 1].

    Args:
        channels: of the images.
        width: channels of the first level; each level has twice those of the one before.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        self.down = nn.ModuleList(_double(before, after) for before, after in pairwise([channels, *widths]))
        self.up = nn.ModuleList(_double(deep + flat, flat) for flat, deep in reversed(list(pairwise(widths))))
        self.last = nn.Sequential(nn.Conv2d(width, channels, 1), nn.BatchNorm2d(channels), nn.Tanh())

    def forward(self, images_01: Tensor) -> Tensor:
        features, seen = images_01, []
        for level, block in enumerate(self.down):
            features = block(avg_pool2d(features, 2) if level else features)
            seen.append(features)
        seen.pop()
        for block in self.up:
            same = seen.pop()
            larger = interpolate(features, size=same.shape[-2:], mode="bilinear", align_corners=True)
            features = block(torch.cat([larger, same], dim=1))
        noise: Tensor = self.last(features)
        return noise


def five_convolutions(channels: int, classes: int) -> nn.Sequential:
    """Five 3x3 convolutions, each with 2x2 pooling after it, and a linear layer: 390,666 parameters on CIFAR-10."""
    layers: list[nn.Module] = []
    for before, after in pairwise((channels, *_CLASSIFIER)):
        layers += [*_convolution(before, after), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_CLASSIFIER[-1], classes))


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(before, after), *_convolution(after, after))


def _convolution(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()
