"""Writes the tables of docs/results.md from the definitions of columns, scores and flags: `python docs/columns.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.store.scores import SCORES
from leaderboard.published.comparison import COMPARISON_COLUMNS
from leaderboard.tables.columns import BOARD_COLUMNS, CELL_COLUMNS, Column
from leaderboard.tables.curves import CURVE_COLUMNS
from leaderboard.tables.flags import Flag
from leaderboard.tables.shown import SHOWN, Shown, View

PAGE = Path(__file__).with_name("results.md")
MARKED = re.compile(r"(<!-- table: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """The text of the page with the present tables between its marks."""
    made = _tables()
    return MARKED.sub(lambda mark: f"{mark[1]}{made[mark[2]]}{mark[3]}", text)


def _tables() -> dict[str, str]:
    scores = [(f"`{name}`", s.label, s.unit, s.explanation) for name, s in SCORES.items()]
    return {
        "cells.csv": _columns(CELL_COLUMNS),
        "leaderboard.csv": _columns(BOARD_COLUMNS),
        "comparison.csv": _columns(COMPARISON_COLUMNS),
        "curves.csv": _columns(CURVE_COLUMNS),
        "scores": _table(("score", "on the page", "unit", "meaning"), scores),
        "shown": _table(("heading", "column", "first click sorts", "shown in"), [_shown(column) for column in SHOWN]),
        "flags": _table(("flag", "meaning"), [(flag, flag.explanation) for flag in Flag]),
    }


def _columns(columns: Mapping[str, Column]) -> str:
    return _table(("column", "meaning"), [(f"`{name}`", column.described) for name, column in columns.items()])


def _shown(column: Shown) -> tuple[str, ...]:
    views = ", ".join(view for view in View if view in column.views)
    return column.title, f"`{column.name}`", "high to low" if column.high_first else "low to high", views


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(heads) + "|", *body, ""])


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
