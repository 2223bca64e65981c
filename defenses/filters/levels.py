"""From uint8 to what a filter computes with, and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def filtered(images_u8: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The changed images, clipped and rounded to uint8.

    Args:
        images_u8: uint8 (N, C, H, W); not modified.
        change: float64 (N, C, H, W) in [0, 1] in, the same shape out. In float64 because sums in float32 depend on the
            number of images of a batch, and their last bit can decide how a value is rounded.
    """
    return change(images_u8.double() / 255).clamp(0, 1).mul(255).round().to(torch.uint8)
