"""Networks whose constructor takes the image size, built for the size of the images (transformers, mixers, LeViT).

One rule for all of them, next to that of `victims.stems`. Let e be the smallest power of two for which the last feature
map of an H x W image is at least 4 x 4, that is total stride / e <= min(H, W) / 4; from 128 pixels on e is 1.

* A network with a patch at least e pixels wide gets `img_size=(H, W)` and patches of min(patch / e, min(H, W) / 8)
  pixels; strides of patches (PiT, TNT) shrink with them.
* Any other is built with `img_size=(e H, e W)`, and `victims.stems` takes the stride e out of its first layers, so that
  the layers behind them get the feature maps that they are built for. The same is tried where the first way fails.
* `window_size` keeps its ratio to the last feature map: 7 at 224 pixels is 4 at 32 and 64 pixels.

At 32 pixels ViT and VOLO get patches of 4 pixels, NesT of 2, Swin of 1 and windows of 4. Which way works is found on
PyTorch's `meta` device, which computes shapes alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from victims.stems import adapt_strides, allowed_stride, take_out_stride

_PATCH_STRIDES = ("stride", "first_stride")
_UNSEEN = {"NaFlexVit": {"patch_size": 16}}  # goes through **kwargs into its configuration


@dataclass(frozen=True)
class _Original:
    """A network as timm builds it: all arguments of its constructor, total stride and shorter side of its images."""

    arguments: dict[str, Any]
    stride: int
    side: int


def build_fitted(name: str, shape: tuple[int, int, int], options: dict[str, Any]) -> nn.Module:
    """A timm network for images of the shape, by this rule or by that of `victims.stems`.

    Args:
        name: timm's.
        shape: (C, H, W) of the images.
        options: further arguments of `timm.create_model`.

    Raises:
        Exception: whatever timm raises for a network that cannot be fitted.
    """
    import timm

    original = _original(name)
    if "img_size" not in original.arguments:
        return adapt_strides(timm.create_model(name, **options), shape)
    first_error = None
    for arguments, removed in _ways(original, shape):
        try:
            with _on_meta():
                _build(name, shape, options | arguments, removed).eval()(torch.zeros(1, *shape))
        except Exception as error:  # anything is raised for sizes that do not fit
            first_error = first_error or error
        else:
            return _build(name, shape, options | arguments, removed)
    assert first_error is not None
    raise first_error


def own_side(name: str) -> int:
    """The shorter side in pixels of the images that a timm network is made for."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return int(min(config.input_size[1:])) if config else 224


def _ways(original: _Original, shape: tuple[int, int, int]) -> Iterator[tuple[dict[str, Any], int]]:
    """(arguments, stride to take out of the first layers) in order of preference."""
    height, width = shape[1:]
    side = min(height, width)
    excess = 1
    while side < 128 and original.stride > excess * allowed_stride(side):
        excess *= 2
    fitted = {}
    if isinstance(original.arguments.get("window_size"), int):
        last, own_last = side * excess // original.stride, original.side // original.stride
        fitted["window_size"] = max(1, original.arguments["window_size"] * last // max(1, own_last))
    patch = original.arguments.get("patch_size")
    if isinstance(patch, int) and patch >= excess:
        small = patch if side >= 128 else max(1, min(patch // excess, side // 8))
        for stride in _PATCH_STRIDES:
            if stride in original.arguments:
                fitted[stride] = max(1, original.arguments[stride] * small // patch)
        yield fitted | {"patch_size": small, "img_size": _size(height, width)}, 1
    windows = {key: value for key, value in fitted.items() if key not in _PATCH_STRIDES}
    yield windows | {"img_size": _size(excess * height, excess * width)}, excess


def _size(height: int, width: int) -> int | tuple[int, int]:
    return height if height == width else (height, width)


def _build(name: str, shape: tuple[int, int, int], arguments: dict[str, Any], removed: int) -> nn.Module:
    import timm

    model = timm.create_model(name, **arguments)
    if removed == 1:
        return model
    model = take_out_stride(model, (shape[0], removed * shape[1], removed * shape[2]), removed)
    for module in model.modules():  # patch layers behind a changed one get smaller images than they were built for
        if hasattr(module, "strict_img_size"):
            module.strict_img_size = False
    return model


@functools.cache
def _original(name: str) -> _Original:
    import timm

    with _on_meta():
        cls = type(timm.create_model(name))
        with _recorded(cls) as given:
            model = timm.create_model(name)
    defaults = {
        parameter.name: parameter.default
        for base in reversed(cls.__mro__)
        if "__init__" in vars(base)
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.default is not parameter.empty
    }
    features: Any = getattr(model, "feature_info", None)
    stride = features[-1]["reduction"] if features else 32
    return _Original(_UNSEEN.get(cls.__name__, {}) | defaults | given, stride, own_side(name))


@contextmanager
def _recorded(cls: Any) -> Iterator[dict[str, Any]]:
    """The keyword arguments with which the class is called inside the block."""
    original, given = cls.__init__, {}

    @functools.wraps(original)
    def record(self: Any, *args: Any, **kwargs: Any) -> None:
        given.update(kwargs)
        original(self, *args, **kwargs)

    cls.__init__ = record
    try:
        yield given
    finally:
        cls.__init__ = original


@contextmanager
def _on_meta() -> Iterator[None]:
    """Tensors without values, no gradients, PyTorch's random numbers as they were."""
    with torch.device("meta"), torch.no_grad(), torch.random.fork_rng(devices=[]):
        yield
