"""One rule that fits any timm network to small images.

ImageNet networks halve the resolution five times; at 32x32 a single position would be left. The rule: the last feature
map of an H x W image is at least 4 x 4, so the total stride is at most min(H, W) / 4, rounded down to a power of two.
Strides are taken out from the input on, level by level, until that holds:

* a convolution whose stride is reduced and whose kernel is larger than 3 becomes a new 3x3 one with padding 1;
* a pooling layer whose stride is reduced to 1 is removed;
* all layers at the same level (main path and shortcut) change together.

At 32x32 this gives a ResNet the 3x3 stride-1 stem without max-pool of the CIFAR papers, and DenseNet and MobileNet-V2
their usual CIFAR forms. Vision transformers instead get patches of min(H, W) / 8 pixels (4 at 32x32). Images whose
shorter side is at least 128 pixels keep the original stem; for VGG 32 pixels suffice, because its CIFAR form in the
papers is the original one: five pools, which leave one position.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


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
    levels = _levels(model, shape[0])
    total = 1
    for _, factor in levels:
        total *= factor
    allowed = 1 << max(0, (side // 4).bit_length() - 1)
    excess = max(1, total // allowed)
    for modules, factor in levels:
        if excess <= 1:
            break
        removed = min(factor, excess)
        for name in modules:
            _reduce(model, name, removed)
        excess //= removed
    if excess > 1:
        raise ValueError(f"cannot fit {type(model).__name__} to {side}-pixel images; use :stem=imagenet")
    return model


def _levels(model: nn.Module, channels: int) -> list[tuple[list[str], int]]:
    """(names of the strided layers, factor) per resolution, from the input on, found by one forward pass."""
    seen: dict[int, tuple[list[str], int]] = {}
    with _watch(model, seen), torch.no_grad():
        was_training = model.training
        model.eval()
        try:
            model(torch.zeros(1, channels, 224, 224))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"{type(model).__name__} takes only images of its own size ({error})") from error
        model.train(was_training)
    return [seen[size] for size in sorted(seen, reverse=True)]


@contextmanager
def _watch(model: nn.Module, seen: dict[int, tuple[list[str], int]]) -> Iterator[None]:
    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            stride = _stride(module)
            if stride > 1 and inputs[0].ndim == 4 and inputs[0].shape[-1] > 1:
                seen.setdefault(inputs[0].shape[-1], ([], stride))[0].append(name)

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
        small = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            3,
            stride,
            padding=1,
            groups=layer.groups,
            bias=layer.bias is not None,
        )
        setattr(parent, name.rpartition(".")[2], small)
    else:
        layer.stride = (stride, stride)
        if layer.kernel_size[0] == 2:  # a 2x2 patch layer: keep the size by padding
            layer.padding = "same"
