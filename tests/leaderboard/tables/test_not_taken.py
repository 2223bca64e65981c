"""Poisons that did not take, beside two that did: what they may change, and what not."""

import io
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from bench.store.results import CellResult
from leaderboard.export.latex import latex_text
from leaderboard.export.terminal import print_leaderboard
from leaderboard.export.text import markdown_text
from leaderboard.figures.captions import heat_caption
from leaderboard.site.page import render_pages
from leaderboard.site.views import tables_of
from leaderboard.tables.columns import as_text
from leaderboard.tables.groups import groups, is_best
from leaderboard.tables.shown import of_attack
from leaderboard.tables.table import frames_of
from tests.leaderboard.tables.boards import board_of

MakeCell = Callable[..., CellResult]
TOOK, NOT = ("lsp", "ops"), ("em", "tap")
ACCURACIES = {  # on clean data, against each attack that took, against each that did not
    "none": (0.95, 0.20, 0.94),
    "iss-gray": (0.95, 0.50, 0.90),  # mean 0.70 over all four, the best of the two baselines
    "iss-jpeg": (0.95, 0.60, 0.70),  # 0.65
    "x": (0.95, 0.58, 0.93),  # 0.755, the highest
}
NOTE = "Not counted, for the poison did not take: em, tap. In no mean, worst, rank, cost or envelope."


@pytest.fixture(scope="module")
def four(make_cell: MakeCell) -> list[CellResult]:
    return [
        make_cell(attack, defense, values[place] + 0.001 * seed, seed=seed)
        for defense, values in ACCURACIES.items()
        for place, attacks in enumerate((["none"], TOOK, NOT))
        for attack in attacks
        for seed in (-1, 0, 1)
    ]


def of_two(cells: list[CellResult]) -> list[CellResult]:
    return [cell for cell in cells if cell.attack.name not in NOT]


def test_they_change_no_value_of_a_row(four: list[CellResult]) -> None:
    board, alone = board_of(four), board_of(of_two(four))
    assert board["rank"].fillna(0).to_dict() == {
        "iss-jpeg": 1,
        "x": 2,
        "iss-gray": 3,
        "iss (best per attack)": 0,
        "none": 0,
    }
    assert board["mean_accuracy"].to_dict() == pytest.approx(
        {"iss-jpeg": 0.60, "x": 0.58, "iss-gray": 0.50, "iss (best per attack)": 0.60, "none": 0.20}
    )
    assert set(board["envelope_defense"]) == {"iss-jpeg"}
    same = [name for name in alone if name not in ("flags", "not_counted")]
    pd.testing.assert_frame_equal(board[same], alone[same])
    lacking = [c for c in four if c.attack.name != "em" or c.defense.name != "x"]
    pd.testing.assert_frame_equal(board_of(lacking)[same], alone[same])


def test_their_accuracies_stay_on_the_board_and_are_never_the_best(four: list[CellResult]) -> None:
    board = frames_of(four).board
    assert set(board["not_counted"]) == {NOT}
    rows = as_text(board).set_index("defense")
    assert rows["accuracy[em]"].to_dict() == pytest.approx(
        {"iss-jpeg": 0.70, "x": 0.93, "iss-gray": 0.90, "iss (best per attack)": 0.90, "none": 0.94}
    )
    assert rows["half_width_95[em]"].notna().all()
    assert rows.loc["x", "flags"] == "poison did not take: em and tap, below the baseline envelope"
    assert (
        rows.loc["iss (best per attack)", "flags"] == "oracle: iss-gray and iss-jpeg, poison did not take: em and tap"
    )
    ((_, group),) = groups(board)
    best = {a: [is_best(row, of_attack(a), group) for _, row in group.iterrows()] for a in (*TOOK, *NOT)}
    assert [attack for attack, marked in best.items() if any(marked)] == list(TOOK)


def test_every_view_says_so(four: list[CellResult]) -> None:
    frames = frames_of(four)
    page = render_pages(four, tables_of(frames), [])["index.html"]
    assert NOTE in page
    assert page.count("± 0.2, not counted</small>") == 2 * len(frames.board)
    assert "<dt>poisons that did not take</dt><dd>em (l2:1), tap (l2:1)</dd>" in page
    assert "points of curves alone" not in page
    terminal = io.StringIO()
    print_leaderboard(frames.board, Console(file=terminal, width=120))
    assert NOTE in terminal.getvalue()
    assert NOTE in heat_caption(frames.board, frames.cells, [*TOOK, *NOT])
    assert NOTE in markdown_text(frames.board)
    assert f"{{{NOTE}}}" in latex_text(frames.board)
    assert "Not counted" not in markdown_text(frames_of(of_two(four)).board)


def test_where_none_took_all_count(four: list[CellResult]) -> None:
    board = board_of([cell for cell in four if cell.attack.name not in TOOK])
    assert set(board["not_counted"]) == {""}
    assert board.loc["x", "mean_accuracy"] == pytest.approx(0.93)
    assert board.loc["x", ["n", "attacks_that_took"]].tolist() == [6, 0]
    assert board.loc["x", "flags"] == "poison did not take: all attacks"


def test_an_attack_of_unknown_effect_counts(four: list[CellResult]) -> None:
    failed = [
        replace(c, status="failed", clean_test_accuracy=None)
        if (c.attack.name, c.defense.name) == ("em", "none")
        else c
        for c in four
    ]
    cells = frames_of(failed).cells
    assert set(cells.loc[~cells["counted"].astype(bool), "attack"]) == {"tap"}
    assert board_of(failed).loc["x", "mean_accuracy"] == pytest.approx((0.58 + 0.58 + 0.93) / 3)


def test_every_victim_has_attacks_of_its_own(four: list[CellResult], make_cell: MakeCell) -> None:
    """`em` does not take on one victim, and is the only attack that does on the other."""
    values = {"none": (0.95, 0.2, 0.95), "x": (0.95, 0.7, 0.9)}
    other = [
        make_cell(attack, defense, value, seed=seed, victim="vit")
        for defense, of in values.items()
        for attack, value in zip(("none", "em", "ops"), of, strict=True)
        for seed in (-1, 0, 1)
    ]
    board = as_text(frames_of([*four, *other]).board).set_index(["victim", "defense"])
    assert board.loc[("vit", "x"), "mean_accuracy"] == pytest.approx(0.7)
    assert board["not_counted"].groupby("victim").first().to_dict() == {"resnet18": "em, tap", "vit": "ops"}


def test_a_point_of_a_curve_that_did_not_take_has_no_column(four: list[CellResult]) -> None:
    """Of `em` at three rates the default counts: it did not take either, and stays on the board."""
    points = [
        replace(
            cell,
            key=f"{cell.key}-{rate}",
            attack=replace(
                cell.attack, text=f"em:poison_rate={rate}" if rate < 1 else "em", parameters={"poison_rate": rate}
            ),
        )
        for cell in four
        if cell.attack.name == "em"
        for rate in (0.2, 0.5, 1)
    ]
    frames = frames_of([*(cell for cell in four if cell.attack.name != "em"), *points])
    assert set(frames.board["not_counted"]) == {NOT}
    assert not [name for name in frames.board if "poison_rate" in name]
