"""The tables as text: CSV for spreadsheets, JSON for programs, Markdown for README files and reviews.

The same cells give the same bytes: nothing here knows the time or the machine it runs on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.tables.columns import BOARD_COLUMNS, as_text
from leaderboard.tables.envelope import envelope_note
from leaderboard.tables.flags import shown_flags
from leaderboard.tables.groups import BEST_RULE, groups, is_best, not_counted_note, place
from leaderboard.tables.shown import (
    ADAPTIVE_NOTE,
    Shown,
    View,
    adaptive_columns,
    attack_columns,
    shown_in,
    value_with_range,
)

JSON_SCHEMA_VERSION = 1
_EXECUTABLE = ("=", "+", "-", "@", "\t", "\r")


def csv_text(frame: pd.DataFrame) -> str:
    """CSV with numbers as numbers and unmeasured values empty.

    Text (headings too) that a spreadsheet would execute gets a leading apostrophe.
    """
    frame = as_text(frame)
    texts = [name for name, dtype in frame.dtypes.items() if dtype == "string"]
    safe = frame.assign(**{str(name): frame[name].map(neutralised, na_action="ignore") for name in texts})
    return safe.rename(columns=neutralised).to_csv(index=False, lineterminator="\n")


def json_text(board: pd.DataFrame) -> str:
    """The rows of `leaderboard.csv` as objects under `rows`; unmeasured is null. `columns` says what each means."""
    meanings = {name: column.described for name, column in BOARD_COLUMNS.items()}
    rows = json.loads(as_text(board).to_json(orient="records", double_precision=15))
    value = {"schema_version": JSON_SCHEMA_VERSION, "columns": meanings, "rows": rows}
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def neutralised(text: str) -> str:
    """The text, with a leading apostrophe if a spreadsheet would take it for a formula; lines end with a line feed.

    Python's csv module does not quote a lone carriage return, which readers take for the end of the row.
    """
    return ("'" if text.startswith(_EXECUTABLE) else "") + re.sub("\r\n?", "\n", text)


def markdown_text(board: pd.DataFrame) -> str:
    """One table for each data set, preset, victim and precision; accuracies in percent, the best in bold."""
    parts = ["# purify-bench leaderboard", _LEGEND]
    for names, group in groups(board):
        parts += [f"## {', '.join(map(_escaped, names))}", _markdown_table(group)]
        parts += [_escaped(note) for note in (not_counted_note(group), envelope_note(group)) if note]
        if columns := adaptive_columns(group):
            parts += [f"Adaptive attacks: {ADAPTIVE_NOTE}.", _adaptive_table(group, columns)]
    return "\n\n".join(parts) + "\n"


_LEGEND = (
    "Clean test accuracy in percent after the last epoch. Mean and worst are over the attacks that count: without "
    "poisons that did not take, if any took. ± 95 % is the Student-t half-width over seeds. Recovery, over the poisons "
    "that took: 0 as undefended, 1 as trained on clean data. Cost: purification, extra training time and the view of "
    "the test images, medians, in brackets the range measured; 1.00× costs nothing beyond an undefended training, less "
    "is a shorter training. Rows that lack cells have no mean and no rank; an oracle row was chosen with test labels "
    "and is not ranked. "
    f"{BEST_RULE}."
)


def _markdown_table(group: pd.DataFrame) -> str:
    columns = [*shown_in(View.MARKDOWN), *attack_columns(group)]
    lines = _heads(["rank", "defense", *(column.title for column in columns), "flags"])
    for _, row in group.iterrows():
        texts = [value_with_range(column, row) for column in columns]
        bold = [
            f"**{text}**" if is_best(row, column, group) else text for text, column in zip(texts, columns, strict=True)
        ]
        name = _escaped(row["defense_selection"])
        lines.append(_line([place(row, group) or formats.DASH, name, *bold, described_flags(row)]))
    return "\n".join(lines)


def _adaptive_table(group: pd.DataFrame, columns: list[Shown]) -> str:
    lines = _heads(["defense", *(column.title for column in columns)])
    for _, row in group.iterrows():
        lines.append(_line([_escaped(row["defense_selection"]), *(value_with_range(c, row) for c in columns)]))
    return "\n".join(lines)


def _heads(heads: list[str]) -> list[str]:
    return [_line(map(_escaped, heads)), _line("---" if head in ("defense", "flags") else "---:" for head in heads)]


def described_flags(row: pd.Series[Any], known: Collection[str] = ()) -> str:
    """Flags (without those `known`) and extra knowledge of a leaderboard row: `3 missing, failed, uses clean-data`."""
    flags = [text for text in shown_flags(row) if text not in known]
    return ", ".join([*flags, *([f"uses {', '.join(row['uses'])}"] if row["uses"] else [])])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Plain text in Markdown: no markup, no HTML, no end of the cell."""
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", re.sub(r"\s+", " ", text))
