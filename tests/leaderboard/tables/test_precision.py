"""Cells in float32 and in bfloat16 on one board: two groups, which share nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.store.results import CellResult, read_cell, write_cell
from leaderboard.site.views import page_view, tables_of
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame, frames_of, leaderboard_frame

MakeCell = Callable[..., CellResult]
CLEAN = {"float32": 0.95, "bfloat16": 0.85}


@pytest.fixture
def cells(make_cell: MakeCell) -> list[CellResult]:
    """Of three seeds; `dvae` is poor in float32 and good in bfloat16, `iss-jpeg` was run in float32 alone."""
    accuracies = {
        "float32": {"none": 0.15, "dvae": 0.5, "iss-jpeg": 0.8},
        "bfloat16": {"none": 0.25, "dvae": 0.9},
    }
    return [
        make_cell(attack, defense, CLEAN[p] if attack == "none" else value, seed=seed, precision=p, device=f"GPU, {p}")
        for p, by_defense in accuracies.items()
        for defense, value in by_defense.items()
        for attack in ("none", "lsp")
        for seed in range(3)
    ]


def test_nothing_is_averaged_or_ranked_across(cells: list[CellResult]) -> None:
    board = as_text(leaderboard_frame(cells_frame(cells))).set_index(["precision", "defense"])
    assert board["mean_accuracy"].to_dict() == pytest.approx(
        {
            ("bfloat16", "dvae"): 0.9,
            ("bfloat16", "none"): 0.25,
            ("float32", "iss-jpeg"): 0.8,
            ("float32", "dvae"): 0.5,
            ("float32", "none"): 0.15,
        }
    )
    assert (board["n"] == 3).all()
    assert (board["missing"] == 0).all(), "iss-jpeg is not expected in bfloat16"
    assert board.loc[("bfloat16", "dvae"), "rank"] == board.loc[("float32", "iss-jpeg"), "rank"] == 1
    assert board.loc[("float32", "dvae"), "rank"] == 2
    assert board["flags"].eq("").all(), "costs of the other precision are on no other device of this group"
    assert board["cost_rank"].dropna().to_dict() == {
        ("bfloat16", "dvae"): 1,
        ("float32", "iss-jpeg"): 1,
        ("float32", "dvae"): 1,
    }


def test_baselines_are_of_the_same_precision(cells: list[CellResult]) -> None:
    frame = cells_frame(cells).query("attack == 'lsp' and defense == 'dvae'").set_index("precision")
    assert set(frame.loc["float32", "undefended_accuracy"]) == {0.15}
    assert set(frame.loc["bfloat16", "undefended_accuracy"]) == {0.25}
    assert set(frame.loc["bfloat16", "clean_baseline_accuracy"]) == {0.85}


def test_the_page_and_the_comparison_show_it(cells: list[CellResult]) -> None:
    tables = tables_of(frames_of(cells))
    assert [group.precision for group in page_view(tables, {}).groups] == ["bfloat16", "float32"]
    compared = tables.comparison.query("attack_selection == 'lsp' and defense_selection == 'dvae'")
    assert compared.groupby("precision")["measured_accuracy"].unique().map(list).to_dict() == {
        "bfloat16": [0.9],
        "float32": [0.5],
    }
    verdicts = tables.comparison.set_index("precision")["reason"]
    assert not verdicts.str.contains("float").any(), "precision is no obstacle"
    pages = {group.precision: group.comparison for group in page_view(tables, {}).groups}
    assert pages["float32"] != pages["bfloat16"]


def test_a_cell_of_a_release_that_did_not_record_it_stands_alone(cells: list[CellResult], tmp_path: Path) -> None:
    path = write_cell(tmp_path, replace(cells[0], precision=""))
    path.write_text("".join(line for line in path.read_text().splitlines(True) if '"precision"' not in line))
    old = read_cell(path)
    board = leaderboard_frame(cells_frame([replace(old, key="old"), *cells]))
    assert isinstance(board, pd.DataFrame)
    assert board["precision"].value_counts().to_dict() == {"float32": 3, "bfloat16": 2, "": 1}
