"""The networks that attacks train while they craft: ResNet-18 as the CIFAR papers have it and as torchvision has it for
ImageNet, and a tiny one.

All take float images in [0, 1]; any normalization is their first layer, so that budgets and step sizes need no
conversion. Batch normalization everywhere: train mode only while training, eval mode while crafting.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bench.api import Context, DataInfo
from bench.errors import unknown
from bench.training.batches import Batch
from bench.training.blocks import BasicBlock, convolution
from bench.training.seeding import build
from bench.training.step import Loss

SurrogateName = Literal["resnet18", "resnet18-imagenet", "s-net"]


class _Normalize(nn.Module):
    """(images - mean) / std, a value per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float().view(-1, 1, 1))
        self.register_buffer("std", std.float().view(-1, 1, 1))

    def forward(self, images_01: Tensor) -> Tensor:
        return (images_01 - self.mean) / self.std


class _Through(nn.Module):
    """The images as an adaptive attack's surrogate sees them: through a defense, in float32."""

    def __init__(self, defense: Callable[[Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        self._defense = defense
        self.labels: Tensor | None = None
        self.position = 0

    def forward(self, images_01: Tensor) -> Tensor:
        with torch.autocast(images_01.device.type, enabled=False):
            return self._defense(images_01.float(), self._next_labels(len(images_01), images_01.device))

    def _next_labels(self, count: int, device: torch.device) -> Tensor | None:
        if self.labels is None:
            return None
        rows = (torch.arange(count, device=self.labels.device) + self.position) % len(self.labels)
        self.position = (self.position + count) % len(self.labels)
        return self.labels[rows].to(device)


@contextmanager
def labeled(surrogate: nn.Module, labels: Tensor) -> Iterator[None]:
    """Tells a surrogate the labels of the images it gets inside the block, for a defense that it looks through.

    Every pass through a surrogate lies in such a block. The images come in the order of the labels, in one pass or in
    several, and begin again after the last one. A surrogate that looks through nothing ignores the labels.

    Args:
        surrogate: of `build_surrogate`, or a module that has such ones.
        labels: int64 (N,), of the images and not of an attack's targets.
    """
    layers = [layer for layer in surrogate.modules() if isinstance(layer, _Through)]
    before = [(layer, layer.labels, layer.position) for layer in layers]
    for layer in layers:
        layer.labels, layer.position = labels, 0
    try:
        yield
    finally:
        for layer, known, position in before:
            layer.labels, layer.position = known, position


def labeled_loss(surrogate: nn.Module, loss: Loss) -> Loss:
    """The loss of a batch, for which the surrogate is told the batch's labels."""

    def of_batch(batch: Batch) -> Tensor:
        with labeled(surrogate, batch.labels):
            return loss(batch)

    return of_batch


def _head(channels: int, classes: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)


def _resnet18_blocks() -> list[BasicBlock]:
    stages = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    return [
        block
        for before, after, stride in stages
        for block in (BasicBlock(before, after, stride), BasicBlock(after, after, 1))
    ]


def _resnet18(channels: int, classes: int) -> tuple[nn.Module, ...]:
    """ResNet-18 with a 3x3 stem of stride 1 and no max-pool: 11.2 million parameters."""
    return (convolution(channels, 64, 3, 1), nn.ReLU(inplace=True), *_resnet18_blocks(), *_head(512, classes))


def _resnet18_imagenet(channels: int, classes: int) -> tuple[nn.Module, ...]:
    """ResNet-18 with torchvision's stem, a 7x7 convolution of stride 2 and a max-pool: a quarter of each side left."""
    stem = (convolution(channels, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1))
    return (*stem, *_resnet18_blocks(), *_head(512, classes))


def _s_net(channels: int, classes: int) -> tuple[nn.Module, ...]:
    """Four 3x3 convolutions of stride 2: 98,970 parameters for color images of ten classes."""
    widths = (channels, 16, 32, 64, 128)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [convolution(before, after, 3, 2), nn.ReLU(inplace=True)]
    return (*layers, *_head(128, classes))


_MAKERS: dict[str, Callable[[int, int], tuple[nn.Module, ...]]] = {
    "resnet18": _resnet18,
    "resnet18-imagenet": _resnet18_imagenet,
    "s-net": _s_net,
}


def check_surrogate(name: str) -> None:
    """Raises ValueError for an unknown network, with the choices."""
    if name not in _MAKERS:
        raise ValueError(str(unknown("surrogate", name, get_args(SurrogateName))))


def surrogate_layers(name: SurrogateName, info: DataInfo) -> nn.Sequential:
    """The network without normalization, with weights of the global generator."""
    return nn.Sequential(*_MAKERS[name](info.shape[0], info.num_classes))


def build_surrogate(
    name: SurrogateName,
    info: DataInfo,
    ctx: Context,
    *,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    kaiming: bool = False,
) -> nn.Module:
    """A surrogate with seeded weights, on the device.

    Args:
        name: `resnet18`, `resnet18-imagenet` or `s-net`.
        info: gives channels and classes; any image size works.
        ctx: seeds the weights (`model-init`); the surrogate's first layer is its `through`, if there is one.
        mean: (C,) subtracted from the images, 0 if None.
        std: (C,) the images are divided by, 1 if None.
        kaiming: normal initialization of the convolutions by their fan-out, instead of the framework's default.
    """

    def make() -> nn.Sequential:
        channels = info.shape[0]
        layers = surrogate_layers(name, info)
        zero, one = torch.zeros(channels), torch.ones(channels)
        normalize = _Normalize(zero if mean is None else mean, one if std is None else std)
        seen = [] if ctx.through is None else [_Through(ctx.through)]
        model = nn.Sequential(*seen, *([] if mean is None and std is None else [normalize]), *layers)
        if kaiming:
            for layer in model.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        return model

    return build(make, ctx)
