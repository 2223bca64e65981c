"""Ranges and precision: uint8 at every border between stages, float32 in [0, 1] inside of one."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api.engine import applied_precision


def to_float(images_u8: Tensor) -> Tensor:
    """uint8 (N, C, H, W) to float32 in [0, 1], channels-last (a third faster than not, also on a CPU)."""
    return images_u8.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_uint8(images_01: Tensor, rounding: str = "nearest") -> Tensor:
    """Float in any range to uint8: clipped to [0, 1], then rounded (`nearest`) or truncated (`floor`)."""
    levels = images_01.clamp(0, 1).mul(255)
    return (levels.round() if rounding == "nearest" else levels.floor()).to(torch.uint8)


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in the precision of the engine that runs this stage (`--precision`).

    Every forward pass of a network belongs into it, in plug-ins too. What it returns may be bfloat16: take `.float()`
    of it before anything else.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=applied_precision() == "bfloat16")
