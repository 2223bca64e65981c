"""The autoregressive field of the AR attack, and its closed form."""

import torch
from torch import Tensor


def normals_needed(height: int, width: int) -> int:
    """Start values a field has: its first two rows and, below them, its first two columns."""
    return 2 * width + 2 * (height - 2)


def autoregress(windows: Tensor, start: Tensor, height: int, width: int) -> Tensor:
    """Fields in which every entry is a fixed combination of its eight neighbors above and to the left.

    In raster order, `s[i, j] = sum(window * s[i-2:i+1, j-2:j+1])` with `window[2, 2] = 0`. That is linear: a row
    depends on the two rows above and on its own first two entries only, by one matrix that is the same for all rows.
    So a field costs one matrix product per row instead of one step per entry.

    Args:
        windows: float64 (..., 3, 3).
        start: float64 (..., n, normals_needed(height, width)): two rows, then two columns; n fields for each window.
        height: of a field, at least 3.
        width: of a field, at least 3.

    Returns:
        float64 (..., n, height, width).
    """
    lead = start.shape[:-1]
    fields = start.new_empty(*lead, height, width)
    fields[..., :2, :] = start[..., : 2 * width].reshape(*lead, 2, width)
    fields[..., 2:, :2] = start[..., 2 * width :].reshape(*lead, height - 2, 2)
    step = _row_matrix(windows, width)
    for row in range(2, height):
        known = [fields[..., row - 2, :], fields[..., row - 1, :], fields[..., row, :2]]
        fields[..., row, 2:] = torch.cat(known, dim=-1) @ step
    return fields


def _row_matrix(windows: Tensor, width: int) -> Tensor:
    """Maps (two rows above, first two entries) to the rest of a row, float64 (..., 2 * width + 2, width - 2)."""
    taps = filters(windows)[..., None].expand(*windows.shape, width - 2)
    bands = windows.new_zeros(*windows.shape[:-1], width - 2, width)
    for column in range(3):
        bands.diagonal(column, -2, -1).copy_(taps[..., column, :])
    above, before, same = bands.unbind(-3)
    known = torch.cat([above, before, same[..., :2]], dim=-1)
    solved: Tensor = torch.linalg.solve_triangular(-same[..., 2:], known, upper=False)
    return solved.mT.contiguous()


def filters(windows: Tensor) -> Tensor:
    """The windows with -1 at the predicted entry: a field's own filter answers zero everywhere on it."""
    out = windows.clone()
    out[..., 2, 2] = -1
    return out
