"""Curves in a terminal: one table per parameter, a row per value and a column per line."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import formats
from leaderboard.tables.curves import CURVE, LEAST_VALUES, curves_frame, point_text
from leaderboard.tables.datasets import data_names
from leaderboard.tables.table import current_cells


def print_curves(cells: pd.DataFrame, console: Console) -> None:
    """Prints accuracy over each parameter that takes several values; accuracies are percent.

    Args:
        cells: from `cells_frame`.
        console: to print on.
    """
    frame = curves_frame(current_cells(cells))
    data = data_names(frame)
    if frame.empty:
        console.print(
            f"no curve: a line takes {LEAST_VALUES} values with finished cells of the same seeds", style="dim"
        )
    for _, points in frame.groupby(CURVE, sort=False):
        first = points.iloc[0]
        words = [data[points.index[0]], f"victim {first['victim_selection']}", first["precision"]]
        title = f"{first['component']}: accuracy in % by {first['parameter']}"
        console.print(Text(" · ".join([title, *filter(None, words)]), "bold"))
        console.print(_table(points))
        console.print(Text(_levels(points), "dim"))
        console.print()


def _table(points: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(Text(points["parameter"].iloc[0]), justify="right")
    lines = list(dict.fromkeys(points["against"]))
    for line in lines:
        table.add_column(Text(line), justify="right", overflow="fold")
    for value, of in points.groupby("value", sort=True):
        by_line = of.set_index("against")
        texts = [point_text(by_line, line) for line in lines]
        table.add_row(formats.number(value), *texts)
    return table


def _levels(points: pd.DataFrame) -> str:
    """The levels that the lines are read against, in words."""
    first = points.iloc[0]
    levels = [f"clean baseline {formats.percent(first['clean_baseline_accuracy'])}"]
    if first["varied"] == "defense":
        levels += [
            f"undefended {line} {formats.percent(of['undefended_accuracy'].iloc[0])}"
            for line, of in points.groupby("against", sort=False)
        ]
    return ", ".join(levels)
