"""Boxes (left, low, right, high) and line segments of a plot, in typographic points: which of them meet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_PIECE = 2.0


def enter(segments: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """True where segments (..., 2, 2) enter boxes (..., 4), by the slab method; NaN enters none."""
    start, length = segments[..., 0, :], segments[..., 1, :] - segments[..., 0, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(boxes[..., :2] - start) / length, (boxes[..., 2:] - start) / length])
    first, last = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
    return (first < last) & (first < 1) & (last > 0)


def cross(segments: Floats, other: Floats) -> NDArray[np.bool_]:
    """(P,) whether segments (P, 2, 2) cross another one."""

    def turn(a: Floats, b: Floats, c: Floats) -> Floats:
        return np.sign((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0])

    start, end = segments[:, 0], segments[:, 1]
    return (turn(start, end, other[0]) * turn(start, end, other[1]) < 0) & (
        turn(other[0], other[1], start) * turn(other[0], other[1], end) < 0
    )


def touch(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """(A, B) whether boxes meet."""
    return ((a[:, None, :2] < b[None, :, 2:]) & (b[None, :, :2] < a[:, None, 2:])).all(axis=2)


def pieces_of(lines: Sequence[Sequence[Floats]]) -> Floats:
    """(N, 4) boxes along lines."""
    found = [np.zeros((0, 4))]
    for start, end in (ends for line in lines for ends in pairwise(line)):
        steps = np.linspace(0, 1, 1 + max(1, round(float(np.hypot(*(end - start))) / _PIECE)))[:, None]
        found.append(padded(start + (end - start) * steps, 0.5))
    return np.concatenate(found)


def padded(at: Floats, radius: float) -> Floats:
    """(..., 4) boxes around points (..., 2), this far to every side."""
    return np.concatenate([at - radius, at + radius], axis=-1)
