"""The difference of two means as the page judges it, for the headline; `compare.js` does the same."""

from __future__ import annotations

from typing import Any

import pandas as pd

from leaderboard.tables import ranking
from leaderboard.tables.statistics import tie_width


def interval(one: pd.Series[Any], other: pd.Series[Any], test_images: int) -> float:
    """Half the 95 % interval of the difference, a fraction.

    Args:
        one, other: rows of the leaderboard.
        test_images: on which every accuracy was measured: with one seed their doubt alone is known.
    """
    return ranking.interval(_result(one, test_images), _result(other, test_images))


def told_apart(one: pd.Series[Any], other: pd.Series[Any], test_images: int) -> bool:
    """True if the two rows would not share a rank."""
    return ranking.separable(_result(one, test_images), _result(other, test_images))


def _result(row: pd.Series[Any], test_images: int) -> ranking.Result:
    return row["mean_accuracy"], tie_width(row["mean_accuracy"], row["half_width_95"], test_images)
