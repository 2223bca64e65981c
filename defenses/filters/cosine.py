"""The low-pass filter of the two-dimensional discrete cosine transform, as two matrix products."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def low_pass(images: Tensor, keep: float) -> Tensor:
    """The images without their high frequencies; floats (N, C, H, W) of any range.

    Args:
        images: not modified.
        keep: share of the rows and of the columns of coefficients that stay, the lowest; in (0, 1], rounded up.
    """
    rows, columns = (_projection(length, keep, images.device).to(images.dtype) for length in images.shape[-2:])
    return rows @ images @ columns


def cosine_matrix(length: int, device: torch.device | None = None) -> Tensor:
    """The orthonormal DCT-II: row k is the k-th cosine; float64 (length, length)."""
    number = torch.arange(length, dtype=torch.float64, device=device)  # there: a copy would wait for the device
    matrix = torch.cos(number[:, None] * (number + 0.5) * (math.pi / length))
    matrix *= math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix


def _projection(length: int, keep: float, device: torch.device) -> Tensor:
    """Symmetric matrix (length, length) that keeps the lowest cosines of a row or column of pixels."""
    kept = cosine_matrix(length, device)[: math.ceil(keep * length - 1e-9)]
    return kept.T @ kept
