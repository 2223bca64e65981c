"""The leaderboard in a terminal: accuracy with cost, then accuracy by attack, in as many tables as the width needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard import formats
from leaderboard.columns import GROUP, accuracy_columns
from leaderboard.export import described_flags

_NAME_WIDTH = 26
_PIPE_WIDTH = 200


def print_leaderboard(board: pd.DataFrame, console: Console) -> None:
    """Prints a leaderboard (from `leaderboard_frame`), one block for each data set, preset and victim.

    Accuracies are percent; rank 1 is bold. Into a file or a pipe lines are up to 200 characters wide.
    """
    with _wide_if_piped(console):
        for _, group in board.groupby(GROUP, sort=False):
            first = group.iloc[0]
            preset = f" · preset {first['preset']}" if first["preset"] else ""
            console.print(Text(f"{first['dataset_selection']}{preset} · victim {first['victim_selection']}", "bold"))
            console.print(_summary(group))
            for table in _by_attack(group, console.width):
                console.print(table)
            for _, row in group.iterrows():
                if notes := described_flags(row):
                    console.print(Text(f"{row['defense_selection']}: {notes}", "yellow"))
            console.print()


@contextmanager
def _wide_if_piped(console: Console) -> Iterator[None]:
    width = console.width
    console.width = width if console.is_terminal else max(width, _PIPE_WIDTH)
    yield
    console.width = width


def _summary(group: pd.DataFrame) -> Table:
    """Fits 80 columns: what does not (±, cost rank) is left out where no row has it."""
    table = _table()
    table.add_column("#", justify="right")
    table.add_column("defense", max_width=_NAME_WIDTH, overflow="fold")
    interval = group["half_width_95"].notna().any()
    for heading in ("mean", *(["±"] if interval else []), "worst", "clean", "recov.", "cost", "× train", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for _, row in group.iterrows():
        table.add_row(
            "" if formats.is_missing(row["rank"]) else str(row["rank"]),
            Text(row["defense_selection"]),
            formats.percent(row["mean_accuracy"]),
            *([formats.percent(row["half_width_95"])] if interval else []),
            formats.percent(row["worst_accuracy"]),
            formats.percent(row["clean_accuracy"]),
            formats.ratio(row["recovery"]),
            formats.seconds(row["cost_seconds"]),
            formats.multiple(row["cost_multiple"]),
            str(row["n"]),
            style=_style(row),
        )
    return table


def _by_attack(group: pd.DataFrame, width: int) -> Iterator[Table]:
    """Accuracy for each attack; a new table begins where the next column would not fit."""
    attacks = accuracy_columns(group)
    heading = "accuracy by attack"
    names = min(_NAME_WIDTH, max(len(name) for name in [heading, *group["defense_selection"]]))
    while attacks:
        fitting: list[str] = []
        free = width - names - 4
        for attack in attacks:
            free -= max(len(attack), 5) + 2
            if free < 0 and fitting:
                break
            fitting.append(attack)
        table = _table()
        table.add_column(heading, width=names, overflow="fold")
        for attack in fitting:
            table.add_column(Text(attack), justify="right", overflow="fold")
        for _, row in group.iterrows():
            values = [formats.percent(row[attacks[attack]]) for attack in fitting]
            table.add_row(Text(row["defense_selection"]), *values, style=_style(row))
        yield table
        attacks = {attack: column for attack, column in attacks.items() if attack not in fitting}


def _table() -> Table:
    return Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _style(row: pd.Series[Any]) -> str:
    if formats.is_missing(row["rank"]):
        return "dim"
    return "bold green" if row["rank"] == 1 else ""
