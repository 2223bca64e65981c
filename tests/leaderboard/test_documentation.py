"""docs/results.md names every column with its meaning."""

from pathlib import Path

from leaderboard.columns import BOARD_COLUMNS, CELL_COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


def test_every_column_is_documented():
    text = PAGE.read_text(encoding="utf-8")
    for name, column in (CELL_COLUMNS | BOARD_COLUMNS).items():
        assert f"| `{name}` | {column.meaning} |" in text
