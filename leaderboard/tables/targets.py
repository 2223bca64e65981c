"""Targets of accuracy, as AlgoPerf has them: which attacks a defense brings to 80, 85 or 90 %, and after what time."""

from __future__ import annotations

from statistics import median

import pandas as pd

from bench.store.results import CellResult

TARGETS = (80, 85, 90)
"""Percent of clean test accuracy."""


def peak_accuracy(cell: CellResult) -> float | None:
    """The highest clean test accuracy of an epoch: an oracle. None without a curve or a result."""
    measured = [a for point in cell.curve if (a := point.get("clean_test_accuracy")) is not None]
    if not measured or cell.clean_test_accuracy is None:
        return None
    return max(*measured, cell.clean_test_accuracy)


def seconds_to_targets(cell: CellResult, purify: float | None, train: float | None) -> dict[str, float | None]:
    """The columns `seconds_to_*` of a cell; None where the last epoch is below the target, or something is not known.

    Args:
        cell: any cell.
        purify: seconds of its purification.
        train: seconds of the whole training; an epoch is an equal part of it.
    """
    found: dict[str, float | None] = dict.fromkeys((f"seconds_to_{target}" for target in TARGETS), None)
    last = int(cell.curve[-1]["epoch"] or 0) if cell.curve else 0
    if cell.clean_test_accuracy is None or purify is None or train is None or not last:
        return found
    for target in TARGETS:
        if cell.clean_test_accuracy >= target / 100:
            reached = (p["epoch"] for p in cell.curve if (p.get("clean_test_accuracy") or 0.0) >= target / 100)
            first = min((int(epoch) for epoch in reached if epoch is not None), default=last)
            found[f"seconds_to_{target}"] = purify + train * first / last
    return found


def row_targets(taken: pd.DataFrame) -> dict[str, float | int | None]:
    """The columns `attacks_at_*` and `seconds_to_*` of a complete leaderboard row.

    An attack is at a target if every seed is after its last epoch: a peak before a collapse does not count. All are
    None without a cell.

    Args:
        taken: finished cells of one defense, as in `cells_frame`, on poisons that took.
    """
    found: dict[str, float | int | None] = {}
    if taken.empty:
        return found
    lowest = taken.groupby("attack_selection")["clean_test_accuracy"].min()
    for target in TARGETS:
        reached = lowest.index[lowest >= target / 100]
        seconds = taken.loc[taken["attack_selection"].isin(reached), f"seconds_to_{target}"]
        found[f"attacks_at_{target}"] = len(reached)
        found[f"seconds_to_{target}"] = None if seconds.empty or seconds.isna().any() else median(seconds)
    return found
