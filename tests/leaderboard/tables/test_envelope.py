"""The baseline envelope against means computed by hand; two attacks, and 10,000 test images: up to a point of doubt."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bench.store.results import CellResult
from leaderboard.export.text import markdown_text
from leaderboard.site.scatter import figure
from leaderboard.tables.envelope import envelope_note
from leaderboard.tables.flags import Flag, has
from leaderboard.tables.table import frames_of

MakeCell = Callable[..., CellResult]
ACCURACIES = {
    "none": (0.1, 0.3),
    "iss-gray": (0.9, 0.3),  # mean 0.6
    "iss-jpeg": (0.7, 0.6),  # quality 10, mean 0.65
    "jpeg:quality=30": (0.5, 0.7),  # mean 0.6
    "jpeg:quality=20": (0.8, 0.8),  # not one of the six
    "dvae": (0.7, 0.5),  # mean 0.6: below
    "close": (0.648, 0.648),  # 0.2 points below: within the doubt of the test images
    "good": (0.9, 0.9),
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "iss-gray": {"test_view": False},
    "iss-jpeg": {"quality": 10, "test_view": False},
    "jpeg:quality=30": {"quality": 30, "test_view": False},
    "jpeg:quality=20": {"quality": 20, "test_view": False},
}


@pytest.fixture
def cells(make_ranked_cell: MakeCell) -> list[CellResult]:
    made = [
        make_ranked_cell(attack, name, accuracy)
        for name, of_attacks in ACCURACIES.items()
        for attack, accuracy in zip(("none", "lsp", "ops"), (0.95, *of_attacks), strict=True)
    ]
    return [replace(c, defense=replace(c.defense, parameters=PARAMETERS.get(c.defense.text, {}))) for c in made]


def board_of(cells: list[CellResult], *left_out: str) -> pd.DataFrame:
    return frames_of([cell for cell in cells if cell.defense.text not in left_out]).board


def below(board: pd.DataFrame) -> set[str]:
    pairs = zip(board["defense_selection"], board["flags"], strict=True)
    return {name for name, flags in pairs if has(Flag.BELOW_ENVELOPE, flags)}


def test_it_is_the_setting_with_the_best_mean_and_not_the_best_per_attack(cells: list[CellResult]) -> None:
    board = board_of(cells)
    assert set(board["envelope_defense"]) == {"iss-jpeg"}, "in every row of the group"
    assert board["envelope_accuracy"].iloc[0] == pytest.approx(0.65), "the best per attack would have 0.8"
    assert board["envelope_settings"].iloc[0] == 3
    assert below(board) == {"dvae"}, "no setting of its own, no undefended row, nothing that ranks would not tell apart"


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_the_number_of_seeds_does_not_decide(make_ranked_cell: MakeCell, seeds: int) -> None:
    """`low` is 4.5 to 5.5 points below in each seed; `once` is above in the first."""
    accuracies = {
        "none": [0.1] * 4,
        "iss-gray": [0.40] * 4,
        "iss-jpeg": [0.50, 0.52, 0.51, 0.53],
        "low": [0.45, 0.475, 0.455, 0.48],
        "once": [0.51, 0.40, 0.40, 0.40],
    }
    cells = [
        make_ranked_cell(attack, name, of_seed, seed=seed)
        for name, of_name in accuracies.items()
        for attack in ("lsp", "ops")
        for seed, of_seed in enumerate(of_name[:seeds])
    ]
    assert below(board_of(cells)) == {"low"}


def test_a_setting_counts_once_and_only_with_all_its_cells(cells: list[CellResult]) -> None:
    again = [
        replace(c, key=f"{c.key}-b", defense=replace(c.defense, name="jpeg", text="jpeg:quality=10", family=""))
        for c in cells
        if c.defense.text == "iss-jpeg"
    ]
    assert board_of([*cells, *again])["envelope_settings"].iloc[0] == 3
    incomplete = [c for c in cells if (c.defense.text, c.attack.text) != ("iss-jpeg", "ops")]
    board = board_of(incomplete)
    assert board["envelope_settings"].iloc[0] == 2
    assert board["envelope_accuracy"].tolist() == pytest.approx([0.6] * len(board))
    assert below(board) == set()


def test_there_is_none_of_fewer_than_two_settings(cells: list[CellResult]) -> None:
    board = board_of(cells, "iss-jpeg", "jpeg:quality=30")
    assert board["envelope_accuracy"].isna().all()
    assert board["envelope_defense"].isna().all()
    assert board["envelope_settings"].iloc[0] == 1
    assert below(board) == set()
    assert envelope_note(board) == ""
    drawn = figure(board)
    assert drawn is not None
    assert not [trace for trace in drawn["data"] if trace["meta"] == "envelope"]


def test_a_view_of_test_images_is_another_method(cells: list[CellResult]) -> None:
    viewing = [
        replace(c, defense=replace(c.defense, parameters={"quality": 10, "test_view": True}))
        if c.defense.text == "iss-jpeg"
        else c
        for c in cells
    ]
    assert board_of(viewing)["envelope_settings"].iloc[0] == 2


def test_it_is_named_in_the_notes_and_drawn(cells: list[CellResult]) -> None:
    board = board_of(cells)
    assert envelope_note(board) == (
        "Baseline envelope: iss-jpeg with 65.0 % mean accuracy, the best of the 3 that are present of six settings "
        "(gray and JPEG at 10, 30, 50, 70 and 90). It is one setting for all attacks, chosen with test labels."
    )
    assert "Baseline envelope: iss-jpeg with 65.0 %" in markdown_text(board)
    drawn = figure(board)
    assert drawn is not None
    (line,) = [trace for trace in drawn["data"] if trace["meta"] == "envelope"]
    assert line["y"] == pytest.approx([65, 65])
