"""Cost of a defense: the median over the cells that share its stages, with the range they were measured in.

The range holds every run that was measured, the repeats of a purification too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

import pandas as pd

from bench.store.results import pays_once


class Spread(NamedTuple):
    """Median, smallest and largest of several measurements."""

    median: float
    low: float
    high: float

    def __add__(self, other: object) -> Spread:
        """Of a sum: the range is what the parts can make at worst."""
        if not isinstance(other, Spread):
            return NotImplemented
        return Spread(self.median + other.median, self.low + other.low, self.high + other.high)

    def less(self, other: Spread) -> Spread:
        """Of a difference, in the same way."""
        return Spread(self.median - other.median, self.low - other.high, self.high - other.low)


def row_costs(cells: pd.DataFrame, *, exclusive: bool = True) -> dict[str, float | None]:
    """The cost columns of a leaderboard row; what one of the cells lacks is None.

    Extra training is the median training with the defense less the median one without, on the same device. Cells of
    several devices have no common stage: their own costs are taken as they are. A cost below 0 is not known where other
    work slowed a training: it may have been the one without the defense.

    Args:
        cells: finished cells of one defense that share data set, preset and victim, as in `cells_frame`; those of the
            clean training set too, which takes the same work.
        exclusive: False if one of these measurements was not.
    """
    cost, purify, extra = _cost(cells, "seconds")
    if cost is not None and cost.median < 0 and not exclusive:
        cost = extra = None
    undefended = _spread(cells["undefended_train_seconds"])
    energy, _, _ = _cost(cells, "energy_joules")
    multiple = None
    if cost is not None and undefended is not None:
        multiple = 1 + cost.median / undefended.median
    return {
        "cost_seconds": cost and cost.median,
        "cost_seconds_min": cost and cost.low,
        "cost_seconds_max": cost and cost.high,
        "cost_multiple": multiple,
        "purify_seconds": purify and purify.median,
        "extra_train_seconds": extra and extra.median,
        "cost_energy_joules": energy and energy.median,
        "warm_seconds": _median(cells["warm_seconds"]),
    }


def uneven_purification(cells: pd.DataFrame) -> bool:
    """True if one purification took clearly longer than the others of these cells: it may have worked for them too.

    Args:
        cells: finished cells of one defense; a purification that several share counts once.
    """
    apart = cells.drop_duplicates("purify_key").sort_values("purify_seconds_max", ascending=False)
    longest, others = apart[:1], apart["purify_seconds"][1:]
    again = longest.loc[longest["purify_runs"] > 1, "purify_seconds_min"]
    return pays_once([float(seconds) for seconds in (*longest["purify_seconds_max"], *again, *others)])


def _cost(cells: pd.DataFrame, unit: str) -> tuple[Spread | None, Spread | None, Spread | None]:
    """Whole, purification and extra training, in this unit."""
    own = _spread(cells[f"cost_{unit}"])
    defended, undefended = _spread(cells[f"train_{unit}"]), _spread(cells[f"undefended_train_{unit}"])
    purify = _spread(cells[f"purify_{unit}"])
    if purify is not None and unit == "seconds":
        low, high = float(cells["purify_seconds_min"].min()), float(cells["purify_seconds_max"].max())
        purify = Spread(purify.median, low, high)
    nothing = Spread(0.0, 0.0, 0.0)
    extra: Spread | None = nothing
    if cells["trains_differently"].any():
        extra = None if defended is None or undefended is None else defended.less(undefended)
    if own is None or purify is None or extra is None or cells["device"].nunique() > 1:
        return own, purify, extra
    view = _spread(cells[f"view_{unit}"].fillna(0.0)) or nothing
    charged = nothing if (cells["defense"] == "none").all() else purify
    return charged + extra + view, purify, extra


def _spread(values: Iterable[float]) -> Spread | None:
    numbers = [float(value) for value in values]
    if not numbers or any(math.isnan(number) for number in numbers):
        return None
    return Spread(median(numbers), min(numbers), max(numbers))


def _median(values: Iterable[float]) -> float | None:
    found = _spread(values)
    return found and found.median
