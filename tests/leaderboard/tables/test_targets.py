"""Peaks, times to a target and costs by point, with training curves of four epochs of 25 seconds."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import pytest

from bench.store.results import CellResult
from leaderboard.tables.table import cells_frame, frames_of

MakeCell = Callable[..., CellResult]
TIMES = [f"seconds_to_{target}" for target in (80, 85, 90)]
COUNTS = [f"attacks_at_{target}" for target in (80, 85, 90)]


def with_curve(cell: CellResult, accuracies: Sequence[float | None]) -> CellResult:
    """The cell with these accuracies by epoch, of which the last is its own."""
    curve = [{"epoch": float(e), "clean_test_accuracy": accuracy} for e, accuracy in enumerate(accuracies, start=1)]
    return replace(cell, curve=curve, clean_test_accuracy=accuracies[-1])


def columns_of(cell: CellResult) -> "pd.Series[float]":
    return cells_frame([cell]).iloc[0][["peak_accuracy", *TIMES]].astype(float)


def test_the_time_to_a_target_ends_with_the_first_epoch_at_it(make_cell: MakeCell) -> None:
    found = columns_of(with_curve(make_cell("lsp", "dvae", purify=10, train=100), (0.5, 0.82, 0.7, 0.86)))
    assert found["peak_accuracy"] == 0.86
    assert found[TIMES[:2]].tolist() == [10 + 50, 10 + 100]
    assert pd.isna(found["seconds_to_90"])


def test_exactly_at_the_target_is_at_the_target(make_cell: MakeCell) -> None:
    found = columns_of(with_curve(make_cell("lsp", "dvae", purify=10, train=100), (0.8, 0.85, None, 0.9)))
    assert found[TIMES].tolist() == [10 + 25, 10 + 50, 10 + 100]


def test_a_peak_before_a_collapse_is_no_target_reached(make_cell: MakeCell) -> None:
    found = columns_of(with_curve(make_cell("lsp", "dvae"), (0.91, 0.6, 0.4, 0.3)))
    assert found["peak_accuracy"] == 0.91
    assert found[TIMES].isna().all()


def test_undefended_time_is_that_of_the_training_alone(make_cell: MakeCell) -> None:
    cell = with_curve(make_cell("lsp", "none", purify=10, train=100), (0.5, 0.5, 0.5, 0.85))
    assert columns_of(cell)["seconds_to_85"] == 100


def test_without_a_curve_nothing_is_known(make_cell: MakeCell) -> None:
    assert columns_of(make_cell("lsp", "dvae", 0.95)).isna().all()


@pytest.fixture
def row(make_ranked_cell: MakeCell) -> "pd.Series[object]":
    """Two seeds: `lsp` is at 85 % in both, `ops` at 80 % in one."""
    curves = {
        ("lsp", 0): (0.80, 0.85, 0.85, 0.90),
        ("lsp", 1): (0.70, 0.80, 0.95, 0.86),
        ("ops", 0): (0.70, 0.80, 0.80, 0.82),
        ("ops", 1): (0.70, 0.80, 0.80, 0.78),
    }
    cells = [
        with_curve(make_ranked_cell(attack, "dvae", purify=10, train=100, seed=seed), curve)
        for (attack, seed), curve in curves.items()
    ]
    cells += [make_ranked_cell(attack, "none", 0.34, seed=seed) for attack in ("lsp", "ops") for seed in (0, 1)]
    return frames_of(cells).board.set_index("defense").loc["dvae"]


def test_an_attack_is_at_a_target_in_every_seed(row: "pd.Series[object]") -> None:
    assert row[COUNTS].tolist() == [1, 1, 0]
    assert row["seconds_to_80"] == (35 + 60) / 2, "median over the cells of lsp"
    assert row["seconds_to_85"] == (60 + 85) / 2
    assert pd.isna(row["seconds_to_90"])


def test_a_poison_that_did_not_take_is_not_recovered_from(make_ranked_cell: MakeCell) -> None:
    """`ops` leaves 94 of 95 %: its 85 % with the defense say nothing, and count in the mean alone."""
    levels = {"none": (0.95, 0.90), "lsp": (0.35, 0.85), "ops": (0.94, 0.85)}
    cells = [
        with_curve(make_ranked_cell(attack, defense, purify=10, train=100), (accuracy,))
        for attack, of_attack in levels.items()
        for defense, accuracy in zip(("none", "dvae"), of_attack, strict=True)
    ]
    board = frames_of(cells).board.set_index("defense")
    row = board.loc["dvae"]
    assert row[["attacks_that_took", *COUNTS]].tolist() == [1, 1, 1, 0]
    assert board.loc["none", COUNTS].tolist() == [0, 0, 0], "undefended, `ops` has 94 %"
    assert row["recovery"] == pytest.approx(0.5 / 0.6)
    assert row["seconds_per_point"] == pytest.approx(10 / 50)
    assert row["mean_accuracy"] == pytest.approx(0.85)
    without = frames_of([cell for cell in cells if cell.attack.name != "lsp"]).board.set_index("defense").loc["dvae"]
    assert without["attacks_that_took"] == 0
    assert without[["recovery", "seconds_per_point", *COUNTS, *TIMES]].isna().all(), "none took"


def test_the_peak_is_of_each_cells_best_epoch(row: "pd.Series[object]") -> None:
    assert row["mean_accuracy"] == pytest.approx((0.90 + 0.86 + 0.82 + 0.78) / 4)
    assert row["peak_accuracy"] == pytest.approx((0.90 + 0.95 + 0.82 + 0.80) / 4)


def test_a_cost_by_point_is_that_of_the_points_above_undefended(row: "pd.Series[object]") -> None:
    assert row["seconds_per_point"] == pytest.approx(10 / 50), "84 % less 34 %"
    assert row["joules_per_point"] == pytest.approx(1000 / 50)


@pytest.mark.parametrize(("accuracy", "train"), [(0.5, 100), (0.4, 100), (0.9, 20)])
def test_no_point_recovered_or_a_shorter_training_has_no_cost_by_point(
    make_ranked_cell: MakeCell, accuracy: float, train: float
) -> None:
    cells = [make_ranked_cell("lsp", "none", 0.5, train=100)]
    cells += [make_ranked_cell("lsp", "at", accuracy, purify=0, train=train, extra={"trains_differently": True})]
    board = frames_of(cells).board
    assert board[["seconds_per_point", "joules_per_point"]].isna().all(axis=None)


def test_energy_that_was_not_measured_gives_no_joules(make_ranked_cell: MakeCell) -> None:
    cells = [make_ranked_cell("lsp", d, a, energy_joules=None, phase_joules={}) for d, a in (("none", 0.5), ("x", 0.9))]
    (found,) = frames_of(cells).board.query("defense == 'x'").to_dict("records")
    assert found["seconds_per_point"] == pytest.approx(10 / 40)
    assert pd.isna(found["joules_per_point"])
