"""The difference of two means as the page judges it: one rule for the headline and for Compare (`compare.js`)."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.tables.statistics import tie_width


def interval(one: pd.Series[Any], other: pd.Series[Any], test_images: int) -> float:
    """Half the 95 % interval of the difference, a fraction: the root of the sum of squares of both intervals.

    Args:
        one, other: rows of the leaderboard.
        test_images: on which every accuracy was measured: with one seed their doubt alone is known.
    """
    widths = (tie_width(row["mean_accuracy"], row["half_width_95"], test_images) for row in (one, other))
    return math.hypot(*widths)


def told_apart(one: pd.Series[Any], other: pd.Series[Any], test_images: int) -> bool:
    """True if two means print differently and differ by at least the interval of their difference."""
    means = [row["mean_accuracy"] for row in (one, other)]
    apart = abs(means[0] - means[1]) >= interval(one, other, test_images)
    return apart and formats.percent(means[0]) != formats.percent(means[1])
