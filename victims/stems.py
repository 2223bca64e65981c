"""One rule that fits any timm network to small images.

ImageNet networks halve the resolution five times; at 32x32 a single position would be left. The rule: the last feature
map of an H x W image is at least 4 x 4, so the total stride is at most min(H, W) / 4, rounded down to a power of two.
Strides are taken out from the input on, level by level, until that holds:

* a convolution whose stride is reduced and whose kernel is larger than 3 becomes a new 3x3 one with padding 1, or, if
  the new stride is still larger than 3, one whose kernel is as wide as its stride;
* a pooling layer whose stride is reduced to 1 is removed;
* all layers at the same level (main path and shortcut) change together; one with a larger stride than the others (the
  key and value branch of PVT's attention) stays.

At 32x32 this gives a ResNet the 3x3 stride-1 stem without max-pool of the CIFAR papers, and DenseNet and MobileNet-V2
their usual CIFAR forms. Networks whose constructor takes the image size follow `victims.fixed_size`. Images whose
shorter side is at least 128 pixels keep the original stem; for VGG 32 pixels suffice, because its CIFAR form in the
papers is the original one: five pools, which leave one position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def allowed_stride(side: int) -> int:
    """The largest total stride for images whose shorter side has this many pixels."""
    return 1 << max(0, (side // 4).bit_length() - 1)


def adapt_strides(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Applies the rule in place and returns the model.

    Args:
        model: convolutional, in any mode; its weights are kept but for replaced stems.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: if no stride can be taken out where the rule asks for it.
    """
    from timm.models import VGG

    side = min(shape[1:])
    if side >= (32 if isinstance(model, VGG) else 128):
        return model
    levels = _levels(model, (shape[0], 224, 224))
    total = math.prod(factor for _, factor in levels)
    return _take_out(model, levels, max(1, total // allowed_stride(side)))


def take_out_stride(model: nn.Module, shape: tuple[int, int, int], excess: int) -> nn.Module:
    """Takes a total stride of `excess`, a power of two, out of the first layers, in place; returns the model.

    Args:
        model: in any mode.
        shape: (C, H, W) of the images that it takes before the change.
        excess: how many times smaller the images are that it takes afterwards.

    Raises:
        ValueError: if the strides of its convolutions and pools are too small for that.
    """
    return _take_out(model, _levels(model, shape), excess)


def _take_out(model: nn.Module, levels: list[tuple[list[str], int]], excess: int) -> nn.Module:
    for modules, factor in levels:
        if excess <= 1:
            break
        removed = min(factor, excess)
        for name in modules:
            _reduce(model, name, removed)
        excess //= removed
    if excess > 1:
        raise ValueError(f"its strides cannot be made {excess} times smaller; :stem=imagenet keeps them")
    return model


def _levels(model: nn.Module, shape: tuple[int, int, int]) -> list[tuple[list[str], int]]:
    """(names of the strided layers, factor) per resolution, from the input on, found by one forward pass."""
    seen: dict[int, dict[str, int]] = {}
    with _watch(model, seen), torch.no_grad():
        was_training = model.training
        model.eval()
        model(torch.zeros(1, *shape))
        model.train(was_training)
    levels = []
    for size in sorted(seen, reverse=True):
        factor = min(seen[size].values())  # a larger stride is the key and value branch of PVT's attention
        levels.append(([name for name, stride in seen[size].items() if stride == factor], factor))
    return levels


@contextmanager
def _watch(model: nn.Module, seen: dict[int, dict[str, int]]) -> Iterator[None]:
    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            stride = _stride(module)
            if stride > 1 and inputs[0].ndim == 4 and inputs[0].shape[-1] > 1:
                seen.setdefault(inputs[0].shape[-1], {})[name] = stride

        return hook

    handles = [m.register_forward_hook(note(n)) for n, m in model.named_modules() if isinstance(m, _STRIDED)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stride(module: Any) -> int:
    return int(module.stride[0] if isinstance(module.stride, tuple) else module.stride)


def _reduce(model: nn.Module, name: str, factor: int) -> None:
    """Divides the stride of the layer called `name` by `factor`."""
    parent = model.get_submodule(name.rpartition(".")[0])
    layer: Any = model.get_submodule(name)
    stride = _stride(layer) // factor
    if not isinstance(layer, nn.Conv2d):
        if stride == 1:
            setattr(parent, name.rpartition(".")[2], nn.Identity())
        else:
            layer.stride = stride
    elif layer.kernel_size[0] > 3:
        kernel = max(3, stride)  # a patch layer of more than 3 pixels keeps to see every pixel
        small = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            kernel,
            stride,
            padding=1 if kernel == 3 else 0,
            groups=layer.groups,
            bias=layer.bias is not None,
        )
        setattr(parent, name.rpartition(".")[2], small)
    else:
        layer.stride = (stride, stride)
        if layer.kernel_size[0] == 2:  # a 2x2 patch layer: keep the size by padding
            layer.padding = "same"
