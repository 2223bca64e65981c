"""A sweep of an attack's parameter beside an ordinary matrix: what it may change, and what not."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench.store.results import CellResult
from leaderboard.site.page import render_pages
from leaderboard.site.views import tables_of
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import Frames, frames_of

MakeCell = Callable[..., CellResult]
RATES = {0.2: 0.9, 0.6: 0.8}


def swept(cell: CellResult, name: str = "ops", **parameters: float) -> CellResult:
    """The cell with these parameters of the attack, of which `poison_rate=1` and `eps=8` are the defaults."""
    given = [f"{n}={v:g}" for n, v in parameters.items() if (n, v) not in {("poison_rate", 1), ("eps", 8)}]
    attack = replace(cell.attack, name=name, text=":".join([name, *given]), parameters=parameters)
    return replace(cell, key="-".join([cell.key, *given]), attack=attack)


@pytest.fixture
def plain(matrix: list[CellResult]) -> list[CellResult]:
    return [swept(cell, poison_rate=1) if cell.attack.name == "ops" else cell for cell in matrix]


@pytest.fixture
def points(make_cell: MakeCell) -> list[CellResult]:
    """Of gray and undefended alone; one of them failed."""
    cells = [
        swept(make_cell("ops", defense, value - 0.3 * (defense == "none"), seed=seed), poison_rate=rate)
        for defense in ("iss-gray", "none")
        for rate, value in RATES.items()
        for seed in range(3)
    ]
    return [replace(cells[0], status="failed", clean_test_accuracy=None), *cells[1:]]


def rows_of(frames: Frames) -> list[dict[str, str]]:
    return as_text(frames.board).astype("string").to_dict("records")


def test_a_sweep_of_an_attack_changes_no_row(plain: list[CellResult], points: list[CellResult]) -> None:
    before, after = frames_of(plain), frames_of([*plain, *points])
    assert after.board.columns.equals(before.board.columns)
    assert rows_of(after) == rows_of(before)
    cells = after.cells
    assert set(cells.loc[~cells["counted"].astype(bool), "attack_selection"]) == {
        f"ops:poison_rate={rate}" for rate in RATES
    }
    page = render_pages([*plain, *points], tables_of(after), [])["index.html"]
    assert "in no mean, worst, rank or count" in page
    assert " of 15" not in page, "no row lacks a point of the curve"
    assert not re.search(r"\d not run", page), "its failed point is not among the cells that the rows lack"


def counted(make_cell: MakeCell, attacks: Sequence[dict[str, float]]) -> set[str]:
    cells = frames_of([swept(make_cell("ops", "none"), **parameters) for parameters in attacks]).cells
    return set(cells.loc[cells["counted"].astype(bool), "attack_selection"])


def test_two_values_are_two_attacks(make_cell: MakeCell) -> None:
    assert counted(make_cell, [{"poison_rate": 1}, {"poison_rate": 0.5}]) == {"ops", "ops:poison_rate=0.5"}


def test_without_the_default_the_largest_value_counts(make_cell: MakeCell) -> None:
    assert counted(make_cell, [{"eps": value} for value in (4, 16, 2)]) == {"ops:eps=16"}


def test_of_a_grid_the_default_of_both_counts(make_cell: MakeCell) -> None:
    grid = [{"eps": eps, "poison_rate": rate} for eps in (2, 4, 8) for rate in (0.2, 0.6, 1)]
    assert counted(make_cell, grid) == {"ops"}
