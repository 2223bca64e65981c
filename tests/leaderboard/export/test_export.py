import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.store.results import CellResult
from leaderboard.export.text import csv_text, json_text, markdown_text
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]


def test_csv_keeps_numbers_and_leaves_unmeasured_empty(matrix: list[CellResult]) -> None:
    frame = cells_frame(matrix)
    again = pd.read_csv(io.StringIO(csv_text(frame)))
    pd.testing.assert_series_equal(again["clean_test_accuracy"], frame["clean_test_accuracy"])
    assert again["peak_gpu_bytes"].dtype == "int64"
    rows = list(csv.DictReader(io.StringIO(csv_text(frame))))
    assert {row["view_seconds"] for row in rows} == {""}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_execute_is_neutralised(make_cell: MakeCell, start: str) -> None:
    attack = f"{start}cmd|' /C calc'!A0"
    cells = [make_cell("none"), make_cell(attack, "dvae"), replace(make_cell(attack), preset="fast")]
    for text in (csv_text(cells_frame(cells)), csv_text(leaderboard_frame(cells_frame(cells)))):
        values = [value for row in csv.reader(io.StringIO(text, newline="")) for value in row]
        assert any("'" + attack.replace("\r", "\n") in value for value in values)
        assert not any(value.startswith(start) for value in values)


@given(st.text(max_size=20))
def test_no_text_cell_starts_like_a_formula(text: str) -> None:
    out = csv_text(pd.DataFrame({"name": pd.Series([text], dtype="string"), "x": [-1.5]}))
    name, number = list(csv.reader(io.StringIO(out, newline="")))[1]
    assert not name.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert name.removeprefix("'") == text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("'")
    assert number == "-1.5", "a negative number stays a number"


def test_markdown_shows_every_row_and_marks_the_best(matrix: list[CellResult]) -> None:
    text = markdown_text(leaderboard_frame(cells_frame(matrix)))
    assert "| 1 | dvae | **90.0** | 2.5 | **89.0** | **93.0** | **0.93** | 6.67 min | 5.00× |" in text
    assert "| – | iss (best per attack) | 83.0 |" in text
    assert text.count("\n| ") == 7


def test_markdown_escapes_markup(make_cell: MakeCell) -> None:
    cells = [make_cell("none"), make_cell(), make_cell("lsp", "a|b<i>*"), make_cell("none", "a|b<i>*")]
    assert r"a\|b\<i\>\*" in markdown_text(leaderboard_frame(cells_frame(cells)))


def test_json_holds_the_rows_of_the_csv(matrix: list[CellResult]) -> None:
    board = leaderboard_frame(cells_frame(matrix))
    value = json.loads(json_text(board))
    board = as_text(board)
    again = pd.DataFrame(value["rows"], columns=board.columns).astype(board.dtypes)
    pd.testing.assert_frame_equal(again, board)
    assert value["rows"][0]["peak_gpu_bytes"] == 2 * 2**30
    assert value["rows"][-1]["rank"] is None
    assert set(value["columns"]) < set(value["rows"][0])
