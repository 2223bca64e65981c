"""The leaderboard in a terminal: accuracy with cost, then accuracy by attack, in as many tables as the width needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import formats
from leaderboard.export.text import described_flags
from leaderboard.tables.envelope import envelope_note
from leaderboard.tables.flags import shared_flags
from leaderboard.tables.groups import groups, is_best, not_counted_note, place
from leaderboard.tables.shown import ADAPTIVE_NOTE, Shown, View, adaptive_columns, attack_columns, shown_in

_NAME_WIDTH = 26
_PIPE_WIDTH = 200


def print_leaderboard(board: pd.DataFrame, console: Console) -> None:
    """Prints a leaderboard (from `leaderboard_frame`), one block for each data set, preset, victim and precision.

    Accuracies are percent; the best of a column carries a star and is bold, as on the page; ties share a place (`=1`).
    Into a file or a pipe lines are up to 200 characters wide.
    """
    with _wide_if_piped(console):
        for names, group in groups(board):
            console.print(Text(" · ".join(names), "bold"))
            if shared := shared_flags(group):
                console.print(Text(f"all rows: {', '.join(shared)}", "yellow"))
            console.print(_summary(group))
            console.print(Text(_legend(group), "dim"))
            if ranges := _ranges(group):
                console.print(Text(f"costs are medians; measured range: {ranges}", "dim"))
            if note := envelope_note(group):
                console.print(Text(note, "dim"))
            for table in _by_attack("accuracy by attack", attack_columns(group), group, console.width):
                console.print()
                console.print(table)
            if note := not_counted_note(group):
                console.print(Text(note, "dim"))
            for table in _by_attack("adaptive attacks", adaptive_columns(group), group, console.width):
                console.print()
                console.print(table)
            if adaptive_columns(group):
                console.print(Text(f"adaptive attacks: {ADAPTIVE_NOTE}", "dim"))
            for _, row in group.iterrows():
                if notes := described_flags(row, shared):
                    console.print(Text(f"{row['defense_selection']}: {notes}", "yellow"))
            console.print()


@contextmanager
def _wide_if_piped(console: Console) -> Iterator[None]:
    width = console.width
    console.width = width if console.is_terminal else max(width, _PIPE_WIDTH)
    yield
    console.width = width


def _legend(group: pd.DataFrame) -> str:
    seeds = int(group["seeds"].iloc[0])
    sure = "one seed, so no intervals" if seeds == 1 else f"± is the 95 % interval over {seeds} seeds"
    return f"accuracies in %; * best ranked row of its column; recovery 0: undefended, 1: clean; {sure}"


def _ranges(group: pd.DataFrame) -> str:
    spans = {
        row["defense_selection"]: formats.span(row["cost_seconds_min"], row["cost_seconds_max"])
        for _, row in group.iterrows()
    }
    return ", ".join(f"{defense} {span}" for defense, span in spans.items() if span)


def _summary(group: pd.DataFrame) -> Table:
    """Fits 80 columns: the interval is left out where no row has one."""
    table = _table()
    table.add_column("#", justify="right")
    table.add_column("defense", max_width=_NAME_WIDTH, overflow="fold")
    shown = [c for c in shown_in(View.TERMINAL) if c.name != "half_width_95" or group[c.name].notna().any()]
    for column in shown:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for _, row in group.iterrows():
        values = [_value(row, column, group) for column in shown]
        table.add_row(place(row, group), Text(row["defense_selection"]), *values, style=_style(row))
    return table


def _value(row: pd.Series[Any], column: Shown, group: pd.DataFrame) -> Text:
    """The number; a star before the best of its column, for terminals without color."""
    if formats.is_missing(row[column.name]):
        return Text(formats.DASH)
    text = column.text(row[column.name])
    return Text(f"*{text}", "bold green") if is_best(row, column, group) else Text(text)


def _by_attack(heading: str, columns: Sequence[Shown], group: pd.DataFrame, width: int) -> Iterator[Table]:
    """Accuracy for each attack; a new table begins where the next column would not fit."""
    names = min(_NAME_WIDTH, max(len(name) for name in [heading, *group["defense_selection"]]))
    while columns:
        fitting: list[Shown] = []
        free = width - names - 4
        for column in columns:
            free -= max(len(column.heading), 6) + 2
            if free < 0 and fitting:
                break
            fitting.append(column)
        table = _table()
        table.add_column(heading, width=names, overflow="fold")
        for column in fitting:
            table.add_column(Text(column.heading), justify="right", overflow="fold")
        for _, row in group.iterrows():
            values = [_value(row, column, group) for column in fitting]
            table.add_row(Text(row["defense_selection"]), *values, style=_style(row))
        yield table
        columns = columns[len(fitting) :]


def _table() -> Table:
    return Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _style(row: pd.Series[Any]) -> str:
    return "dim" if formats.is_missing(row["rank"]) else ""
