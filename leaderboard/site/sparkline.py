"""The training of a row as a line of the size of a word: clean test accuracy by epoch, mean over attacks and seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from bench import formats
from bench.store.results import CellResult

WIDTH, HEIGHT = 96, 24
_MOST_POINTS = 32


@dataclass(frozen=True)
class Sparkline:
    """Points of an SVG polyline, WIDTH x HEIGHT pixels, from 0 % at the bottom to 100 % at the top; and in words."""

    points: str
    words: str


def sparklines(cells: Iterable[CellResult]) -> dict[tuple[str, ...], Sparkline]:
    """By data set, its digest, preset, victim, precision and defense, as on the board.

    Of the finished ones on poisoned data; of every curve the epochs that all of them have.

    Args:
        cells: those that the board counts.
    """
    curves: dict[tuple[str, ...], list[dict[int, float]]] = {}
    for cell in cells:
        if cell.status == "done" and cell.attack.name != "none":
            curves.setdefault(_names_of(cell), []).append(_accuracies(cell))
    means = {row: _mean(of_row) for row, of_row in curves.items()}
    return {row: _drawn(mean) for row, mean in means.items() if len(mean) > 1}


def row_names(row: pd.Series[Any]) -> tuple[str, ...]:
    """The same of a row of the leaderboard."""
    columns = ("dataset_selection", "dataset_digest", "preset", "victim_selection", "precision", "defense_selection")
    return tuple(str(row[column]) for column in columns)


def _names_of(cell: CellResult) -> tuple[str, ...]:
    dataset = cell.dataset
    return dataset["spec"], dataset["digest"], cell.preset, cell.victim.text, cell.precision, cell.defense.text


def _accuracies(cell: CellResult) -> dict[int, float]:
    found = ((point.get("epoch"), point.get("clean_test_accuracy")) for point in cell.curve)
    return {int(epoch): accuracy for epoch, accuracy in found if epoch is not None and accuracy is not None}


def _mean(curves: list[dict[int, float]]) -> dict[int, float]:
    shared = set.intersection(*(set(curve) for curve in curves))
    return {epoch: fmean(curve[epoch] for curve in curves) for epoch in sorted(shared)}


def _drawn(mean: dict[int, float]) -> Sparkline:
    epochs = list(mean)
    first, last = epochs[0], epochs[-1]
    kept = epochs[:: -(-len(epochs) // _MOST_POINTS)]
    kept += [last] * (kept[-1] != last)
    points = (f"{WIDTH * (e - first) / (last - first):.4g},{HEIGHT * (1 - mean[e]):.4g}" for e in kept)
    ends = f"{formats.percent(mean[first])} % after epoch {first}, {formats.percent(mean[last])} % after epoch {last}"
    return Sparkline(" ".join(points), ends)
