"""Structural similarity (SSIM; Wang et al., IEEE Transactions on Image Processing 13(4), 2004).

Gaussian windows of 11 x 11 with a standard deviation of 1.5 pixels, K1 = 0.01 and K2 = 0.03, moments divided by the sum
of the weights, each channel by itself, windows inside of the image only: the setting of the paper, which scikit-image
calls `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2  # for a range of 1
_IMAGES = 1000  # of 3 x 32 x 32; fewer of larger ones, so that the time stays within some seconds
_ENTRIES = 100 * 3072  # at a time


def mean_ssim(images_u8: Tensor, reference_u8: Tensor) -> tuple[float | None, int]:
    """Mean SSIM over at most 1,000 images of 3 x 32 x 32, evenly spaced, fewer of larger ones; and how many.

    Args:
        images_u8: uint8 (N, C, H, W).
        reference_u8: the same.

    Returns:
        1.0 for equal images; None and 0 without images, or of images smaller than a window.
    """
    count, size = len(images_u8), images_u8[:1].numel()
    if count == 0 or min(images_u8.shape[2:]) < _WINDOW:
        return None, 0
    used = min(count, max(1, int(_IMAGES * min(1.0, math.sqrt(3072 / size)))))
    rows = torch.arange(used) * count // used
    step, total = max(1, _ENTRIES // size), 0.0
    for start in range(0, used, step):
        part = rows[start : start + step]
        total += float(_ssim(images_u8[part], reference_u8[part]).sum())
    return total / used, used


def _ssim(images_u8: Tensor, reference_u8: Tensor) -> Tensor:
    """Of each image, float64 (N,)."""
    one, two = images_u8.double() / 255, reference_u8.double() / 255
    down, across = (_averages(side) for side in one.shape[2:])

    def mean(maps: Tensor) -> Tensor:
        return down @ maps @ across.T

    mean_one, mean_two = mean(one), mean(two)
    variances = mean(one * one) - mean_one**2 + mean(two * two) - mean_two**2
    covariance = mean(one * two) - mean_one * mean_two
    likeness = (2 * mean_one * mean_two + _C1) * (2 * covariance + _C2)
    return (likeness / ((mean_one**2 + mean_two**2 + _C1) * (variances + _C2))).mean(dim=(1, 2, 3))


def _averages(side: int) -> Tensor:
    """Float64 (side - 10, side): every row is one position of the window along an image's side."""
    weights = torch.exp(-((torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    positions = torch.zeros(side - _WINDOW + 1, side, dtype=torch.float64)
    for start, row in enumerate(positions):
        row[start : start + _WINDOW] = weights / weights.sum()
    return positions
