"""docs/results.md names exactly the columns there are, in order, with their meaning."""

import re
from pathlib import Path

import pytest

from bench.scores import SCORES
from leaderboard.boardview import METRICS
from leaderboard.columns import BOARD_COLUMNS, CELL_COLUMNS
from leaderboard.comparison import COMPARISON_COLUMNS
from leaderboard.flags import Flag

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize(
    ("heading", "meanings"),
    [
        ("## cells.csv", {name: column.meaning for name, column in CELL_COLUMNS.items()}),
        ("## leaderboard.csv", {name: column.meaning for name, column in BOARD_COLUMNS.items()}),
        ("## comparison.csv", {name: column.meaning for name, column in COMPARISON_COLUMNS.items()}),
    ],
)
def test_the_documented_columns_are_the_real_ones(heading: str, meanings: dict[str, str]) -> None:
    behind = PAGE.read_text(encoding="utf-8").split(heading)[1]
    table = behind[behind.index("|---|---|") :].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE) == list(meanings.items())


def test_the_documented_scores_are_the_real_ones() -> None:
    table = PAGE.read_text(encoding="utf-8").split("| score |")[1].split("\n\n")[0]
    documented = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", table, re.MULTILINE)
    assert documented == [(name, s.label, s.unit, s.explanation) for name, s in SCORES.items()]


def test_the_documented_flags_are_the_real_ones() -> None:
    table = PAGE.read_text(encoding="utf-8").split("| flag | meaning |\n|---|---|\n")[1].split("\n\n")[0]
    assert table.splitlines() == [f"| {flag} | {flag.explanation} |" for flag in Flag]


def test_the_document_says_which_columns_the_page_hides() -> None:
    section = " ".join(PAGE.read_text(encoding="utf-8").split("## What the page shows")[1].split("## ")[0].split())
    shown, hidden = section.split("The others are hidden")
    for metric in METRICS:
        name = metric.heading.removesuffix(" %") if metric.usual else metric.heading
        assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", shown if metric.usual else hidden), metric.heading
