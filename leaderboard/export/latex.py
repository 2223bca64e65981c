"""The leaderboard as LaTeX tables with booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.export.text import described_flags
from leaderboard.tables.columns import AND
from leaderboard.tables.flags import shared_flags
from leaderboard.tables.groups import BEST_RULE, groups, is_best, not_counted_note
from leaderboard.tables.shown import (
    ADAPTIVE_NOTE,
    Shown,
    View,
    adaptive_columns,
    attack_columns,
    shown_in,
    value_with_range,
)

_NARROW = 44  # letters across a column of a paper
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "µ": r"$\mu$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "<>|\"'`-"},
}


def latex_text(board: pd.DataFrame) -> str:
    """One `tabular` for each group of the board; accuracies in percent, unranked rows below a rule.

    Its last lines say what is behind the numbers (cells, seeds, device), and what makes them doubtful.
    """
    head = f"% purify-bench leaderboard. Needs \\usepackage{{booktabs}}.\n% {BEST_RULE}.\n"
    return head + "".join(_table(names, group) for names, group in groups(board))


def escaped(text: str) -> str:
    """Plain text in LaTeX: no commands, no comments, no ligatures, no line ends.

    A character that pdfLaTeX has no glyph for by default (beyond Latin) is written as its code point, `U+0645`.
    """
    return "".join(_SPECIAL.get(character) or _glyph(character) for character in re.sub(r"\s+", " ", text))


def _glyph(character: str) -> str:
    latin = character.isprintable() and (character.isascii() or "\u00bf" < character < "\u0180")
    return character if latin else f"U+{ord(character):04X}"


def _table(names: list[str], group: pd.DataFrame) -> str:
    attacks, adaptive = attack_columns(group), adaptive_columns(group)
    columns = [*attacks, *shown_in(View.LATEX), *adaptive]
    heads = ["defense", *(column.title for column in columns)]
    lines = [
        "",
        f"% {escaped(', '.join(names))}",
        f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        "\\toprule",
        *_above(len(heads) - len(adaptive), len(adaptive)),
        " & ".join(map(escaped, heads)) + r" \\",
        "\\midrule",
    ]
    first, ranked_before = len(lines), True
    for _, row in group.iterrows():
        ranked = not formats.is_missing(row["rank"])
        if ranked_before and not ranked and len(lines) > first:
            lines.append("\\midrule")
        ranked_before = ranked
        lines.append(_line(row, columns, group))
    below = [
        escaped(line) for note in _notes(group) for line in wrap(note, _width(columns, group), break_on_hyphens=False)
    ]
    lines += [
        "\\bottomrule",
        "\\addlinespace",
        *(f"\\multicolumn{{{len(heads)}}}{{l}}{{{line}}} \\\\" for line in below),
    ]
    return "\n".join([*lines, "\\end{tabular}", ""])


def _notes(group: pd.DataFrame) -> list[str]:
    """Sentences about what is behind the numbers, and what makes them doubtful: a comment would not be printed."""
    shared = shared_flags(group)
    everywhere = [f"All rows: {', '.join(shared)}."] if shared else []
    flags = _told(group, lambda row: described_flags(row, shared))
    return [*_told(group, _measured), *everywhere, *flags, *filter(None, [not_counted_note(group)])]


def _measured(row: pd.Series[Any]) -> str:
    device = formats.device(AND.join(row["device"])) or formats.DASH
    return f"n = {formats.counted(row['n'], 'cell')}, {formats.counted(row['seeds'], 'seed')}, device {device}"


def _told(group: pd.DataFrame, of: Callable[[pd.Series[Any]], str]) -> list[str]:
    """A sentence for each text that a row has, with the names of its rows."""
    names: dict[str, list[str]] = {}
    for _, row in group.iterrows():
        names.setdefault(of(row), []).append(row["defense_selection"])
    return [
        f"{'All rows' if len(own) == len(group) else '; '.join(own)}: {text}." for text, own in names.items() if text
    ]


def _width(columns: Sequence[Shown], group: pd.DataFrame) -> int:
    """Characters across the table or a column of a paper, which lines below it do not exceed."""
    cells = [[column.title, *(value_with_range(column, row) for _, row in group.iterrows())] for column in columns]
    across = sum(2 + max(map(len, texts)) for texts in [["defense", *group["defense_selection"]], *cells])
    return max(across, _NARROW)


def _above(others: int, adaptive: int) -> list[str]:
    """The heading over the columns of adaptive attacks, which are the last ones."""
    if not adaptive:
        return []
    return [
        f"% Adaptive attacks: {ADAPTIVE_NOTE}.",
        f"\\multicolumn{{{others}}}{{l}}{{}} & \\multicolumn{{{adaptive}}}{{c}}{{adaptive attacks}} \\\\",
        f"\\cmidrule(l){{{others + 1}-{others + adaptive}}}",
    ]


def _line(row: pd.Series[Any], columns: Sequence[Shown], group: pd.DataFrame) -> str:
    values = [escaped(row["defense_selection"])]
    for column in columns:
        text = escaped(value_with_range(column, row))
        if is_best(row, column, group):
            text = f"\\textbf{{{text}}}"
        if column.name == "mean_accuracy" and not formats.is_missing(row["half_width_95"]):
            text += f" $\\pm$ {formats.percent(row['half_width_95'])}"
        values.append(text)
    return " & ".join(values) + r" \\"
