"""The difference of two means as the page judges it, for the headline; `compare.js` does the same."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from leaderboard.tables.ranking import separable
from leaderboard.tables.statistics import tie_width


def interval(one: pd.Series[Any], other: pd.Series[Any], test_images: int) -> float:
    """Half the 95 % interval of the difference, a fraction: the root of the sum of squares of both intervals.

    Args:
        one, other: rows of the leaderboard.
        test_images: on which every accuracy was measured: with one seed their doubt alone is known.
    """
    return math.hypot(*(_width(row, test_images) for row in (one, other)))


def told_apart(one: pd.Series[Any], other: pd.Series[Any], test_images: int) -> bool:
    """True if the two rows would not share a rank."""
    return separable(*((row["mean_accuracy"], _width(row, test_images)) for row in (one, other)))


def _width(row: pd.Series[Any], test_images: int) -> float:
    return tie_width(row["mean_accuracy"], row["half_width_95"], test_images)
