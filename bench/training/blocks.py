"""Blocks of networks that attacks and purifiers share."""

import torch
from torch import Tensor, nn


def convolution(before: int, after: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution without bias that keeps the size (up to its stride), and batch normalization."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(after)
    )


class BasicBlock(nn.Module):
    """Block of a ResNet-18: two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes.

    Written here because torchvision's, with the same results, takes a second to import.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            convolution(before, after, 3, stride), nn.ReLU(inplace=True), convolution(after, after, 3, 1)
        )
        changed = stride != 1 or before != after
        self.shortcut = convolution(before, after, 1, stride) if changed else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.residual(features) + self.shortcut(features))
