"""Groups of the board and what is marked in them: the same for page, terminal, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.tables.columns import GROUP, accuracy_column, half_width_column
from leaderboard.tables.datasets import data_names
from leaderboard.tables.ranking import separable
from leaderboard.tables.shown import Shown


def groups(board: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Data set, preset (if any), victim and precision (if recorded) in words, and the rows of that group."""
    data = data_names(board)
    for _, rows in board.groupby(GROUP, sort=False):
        first = rows.iloc[0]
        preset = f"preset {first['preset']}" if first["preset"] else ""
        names = [data[rows.index[0]], preset, f"victim {first['victim_selection']}", first["precision"]]
        yield [name for name in names if name], rows


def place(row: pd.Series[Any], rows: pd.DataFrame) -> str:
    """The rank, with `=` where another row of the group shares it; "" without a rank."""
    if formats.is_missing(row["rank"]):
        return ""
    return f"={row['rank']}" if (rows["rank"] == row["rank"]).sum() > 1 else str(row["rank"])


def not_counted_note(rows: pd.DataFrame) -> str:
    """A sentence for readers about the attacks that a group of the board shows and does not count; "" without them."""
    names = rows["not_counted"].iloc[0]
    listed = ", ".join(map(formats.isolated, names))
    return (
        f"Not counted, for the poison did not take: {listed}. In no mean, worst, rank, cost or envelope."
        if names
        else ""
    )


BEST_RULE = (
    "Bold, in every view: rank 1 in mean and cost, a shared place too; against one attack the highest value of the "
    "ranked rows, and what differs from it by less than the 95 % interval of the difference; elsewhere, "
    "and with one seed, what prints like the best ranked value; nothing where no row has a rank"
)


def is_best(row: pd.Series[Any], column: Shown, rows: pd.DataFrame) -> bool:
    """True if a row is best in this column by `BEST_RULE`, the rule of every view.

    A cost that is not ranked (several devices, not exclusive) is never best, and nothing is against a poison that did
    not take.

    Args:
        row: of the leaderboard.
        column: one with one value per row, or of an attack.
        rows: those of the group.
    """
    rank = "cost_rank" if column.best == "low" else "rank"
    if column.name in map(accuracy_column, row["not_counted"]):
        return False
    if not column.best or rows["rank"].isna().all():
        return False
    if formats.is_missing(row[rank]) or formats.is_missing(row[column.name]):
        return False
    if column.name in ("mean_accuracy", "cost_seconds"):
        return bool(row[rank] == 1)
    ranked = rows.loc[rows[rank].notna(), column.name].dropna().astype(float)
    top = ranked.max() if column.best == "high" else ranked.min()
    width = half_width_column(column.heading)
    if width not in row or column.name != accuracy_column(column.heading):
        return column.text(row[column.name]) == column.text(top)
    return not separable(_result(row, column, width), _result(rows.loc[ranked.idxmax()], column, width))


def _result(row: pd.Series[Any], column: Shown, width: str) -> tuple[float, float | None]:
    return float(row[column.name]), None if formats.is_missing(row[width]) else float(row[width])
