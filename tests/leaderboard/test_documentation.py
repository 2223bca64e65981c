"""docs/results.md names exactly the columns there are, in order, with their meaning."""

import re
from pathlib import Path

import pytest

from bench.scores import SCORES
from leaderboard.columns import BOARD_COLUMNS, CELL_COLUMNS
from leaderboard.comparison import COMPARISON_COLUMNS

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
