"""JPEG with gradients, for attackers who know that their images will be compressed: kornia's codec.

Its rounding is a cubic near the nearest whole number (Shin and Song, 2017), so its pixels differ a little from those of
the codec that defends. kornia checks the quality's value at every call, which on a GPU waits for the device: the only
wait inside a training step of this project.
"""

from __future__ import annotations

import torch
from torch import Tensor


def differentiable_jpeg(images_01: Tensor, quality: int) -> Tensor:
    """The images after a differentiable encoding (4:2:0 chroma) and decoding.

    Args:
        images_01: float (N, C, H, W) with 1 or 3 channels; values outside of [0, 1] are clipped.
        quality: 1 (strongest) to 100.
    """
    from kornia.enhance import jpeg_codec_differentiable

    color = images_01.clamp(0, 1).expand(-1, 3, -1, -1)
    level = torch.full((1,), float(quality), dtype=color.dtype, device=color.device)
    coded: Tensor = jpeg_codec_differentiable(color, level)
    return coded if images_01.shape[1] == 3 else coded.mean(dim=1, keepdim=True)
