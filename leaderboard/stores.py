"""Cells of several stores as one set: what to keep where two stores hold the same cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.results import CellResult, read_cell
from leaderboard import formats
from leaderboard.columns import AND

OTHER_COSTS = "other costs in another store"
"""Flag of a cell that two stores hold with the same accuracy and different costs."""


@dataclass(frozen=True)
class Stored:
    """Cells ordered by key, and the cells behind them: the same result measured again, at other costs."""

    cells: list[CellResult]
    repeated: list[CellResult]


def read_stores(stores: Iterable[Path]) -> Stored:
    """All cells of these stores; a finished one before a failed one, then the first store's.

    Raises:
        UserError: if one is no store, a cell cannot be read, or two stores give the same cell different accuracies.
    """
    chosen: dict[str, tuple[Path, CellResult]] = {}
    repeated = []
    for store in stores:
        folder = store / "cells"
        if not folder.is_dir():
            raise UserError(f"{store} is not a store (no folder {folder}); `bench run --store {store}` makes one")
        for path in sorted(folder.glob("*.json")):
            cell = read_cell(path)
            other_path, other = chosen.setdefault(cell.key, (path, cell))
            if cell.status == other.status == "done":
                _check_equal(other_path, other, path, cell)
                if cell.costs != other.costs:
                    repeated.append(cell)
            elif cell.status == "done":
                chosen[cell.key] = (path, cell)
    return Stored([chosen[key][1] for key in sorted(chosen)], sorted(repeated, key=lambda cell: cell.key))


def described_repeats(stored: Stored) -> str:
    """One sentence for who merges: how many cells have other costs elsewhere, with an example; "" if none has."""
    if not stored.repeated:
        return ""
    again = stored.repeated[0]
    shown = next(cell for cell in stored.cells if cell.key == again.key)
    charged = [[cost for stage, cost in cell.costs.items() if stage != "poison"] for cell in (shown, again)]
    seconds = [formats.seconds(sum(cost.wall_seconds for cost in costs)) for costs in charged]
    devices = [AND.join(sorted({cost.device for cost in costs})) for costs in charged]
    count = len({cell.key for cell in stored.repeated})
    return (
        f"{count} cell{'s are' if count > 1 else ' is'} in several stores with the same accuracy and other costs; the "
        f"board takes those of the first --store. For example {again.defense.text} against {again.attack.text}, seed "
        f"{again.seed}: {seconds[0]} on {devices[0]} is shown, {seconds[1]} on {devices[1]} is not"
    )


def _check_equal(one_path: Path, one: CellResult, other_path: Path, other: CellResult) -> None:
    if one.clean_test_accuracy != other.clean_test_accuracy:
        raise UserError(
            f"{one_path} and {other_path} are the same cell, but their accuracies differ "
            f"({one.clean_test_accuracy} and {other.clean_test_accuracy}); publish only one of the stores"
        )
