"""docs/results.md names every column with its meaning."""

from pathlib import Path

from leaderboard.columns import BOARD_COLUMNS, CELL_COLUMNS
from leaderboard.comparison import COMPARISON_COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


def test_every_column_is_documented():
    text = PAGE.read_text(encoding="utf-8")
    for columns in (CELL_COLUMNS, BOARD_COLUMNS, COMPARISON_COLUMNS):
        for name, column in columns.items():
            assert f"| `{name}` | {column.meaning} |" in text
