"""Training of victims in the sources of published values, as far as they say, next to how it was done here.

`sources.csv` holds one row a source; PUBLISHED.md names the papers.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Source:
    """A source's recipe; None is not printed. Adversarial training often takes another number of epochs.

    `runs` are behind each mean and standard deviation that it prints.
    """

    key: str
    epochs: int | None
    at_epochs: int | None
    batch_size: int | None
    runs: int | None
    remark: str


@cache
def sources() -> dict[str, Source]:
    """All rows of `sources.csv` by key."""
    with (files("leaderboard.published") / "sources.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["source"]: Source(
                row["source"],
                *(_count(row[name]) for name in ("epochs", "at_epochs", "batch_size", "runs")),
                row["remark"],
            )
            for row in csv.DictReader(file)
        }


def recipe_difference(key: str, defense: str, epochs: int | None, batch_size: int | None) -> str:
    """Differences of the source's training, or facts it does not print: `200 epochs (here 60); batch 256 (here 128)`.

    Args:
        key: of the source.
        defense: registered name; `at` has its own number of epochs.
        epochs: that the victim was trained here; None if unknown.
        batch_size: likewise.
    """
    source = sources()[key]
    theirs = source.at_epochs if defense == "at" else source.epochs
    parts = [
        _part("{} epochs", "number of epochs", theirs, epochs),
        _part("batch {}", "batch size", source.batch_size, batch_size),
        source.remark,
    ]
    return "; ".join(part for part in parts if part) or "none in epochs and batch size"


def _part(form: str, name: str, theirs: int | None, ours: int | None) -> str:
    if theirs is None:
        return f"{name} not printed"
    if theirs == ours:
        return ""
    return f"{form.format(theirs)} (here {'unknown' if ours is None else ours})"


def _count(text: str) -> int | None:
    return int(text) if text else None
