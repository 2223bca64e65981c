"""Authors and titles of the papers behind defenses: what a reader searches for on the board."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files


@cache
def _papers() -> dict[str, str]:
    """Source as the registry writes it -> authors, title and key in `sources.csv`, as text."""
    with (files("leaderboard.published") / "papers.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["source"]: f"{row['authors']}: {row['title']}" + (f" ({row['key']})" if row["key"] else "")
            for row in csv.DictReader(file)
        }


def papers_of(source: str) -> str:
    """Text of all known papers that a source names; "" if there is none.

    Args:
        source: of a component, or of a chain of them.
    """
    return "; ".join(text for name, text in _papers().items() if name in source)
