"""The columns of the leaderboard that readers see: one table for the page, the terminal, Markdown, LaTeX and the docs.

Its order is that of every view. Behind these columns come `attack_columns` (LaTeX begins with them), and last
`adaptive_columns`. The meaning of a column is in `BOARD_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.tables.adaptive import names_adaptive
from leaderboard.tables.columns import AND, BOARD_COLUMNS, accuracy_column, accuracy_columns
from leaderboard.tables.targets import TARGETS


class View(StrEnum):
    """A place that shows the leaderboard; a column of `CHOICE` is on the page after the reader has chosen it."""

    PAGE = "page"
    CHOICE = "page (if chosen)"
    TERMINAL = "terminal"
    MARKDOWN = "Markdown"
    LATEX = "LaTeX"
    ADAPTIVE = "terminal, Markdown, LaTeX (with the adaptive attacks)"


@dataclass(frozen=True)
class Shown:
    """A column as readers see it.

    Attributes:
        name: of the column in `BOARD_COLUMNS`.
        heading: the same in every view.
        text: the function that writes a value.
        views: all that show the column.
        unit: behind the heading, where values are written without a unit.
        best: `high` or `low`; "" if no value is the best.
        high_first: the first click on the heading sorts by falling value.
        meaning: of a column that is not in `BOARD_COLUMNS`.
    """

    name: str
    heading: str
    text: Callable[[Any], str]
    views: frozenset[View]
    unit: str = ""
    best: str = ""
    high_first: bool = False
    meaning: str = ""

    @property
    def title(self) -> str:
        """Heading and unit."""
        return f"{self.heading} {self.unit}".rstrip()

    @property
    def described(self) -> str:
        """The meaning, in a sentence that needs no other column."""
        return self.meaning or BOARD_COLUMNS[self.name].meaning


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


_TABLES = frozenset({View.TERMINAL, View.MARKDOWN, View.LATEX})
_ALL = _TABLES | {View.PAGE}
_CHOICE = frozenset({View.CHOICE})
_BEST_KNOWN = frozenset({View.PAGE, View.ADAPTIVE})

ADAPTIVE_NOTE = "crafted with knowledge of a defense; in no mean, worst, recovery, cost or rank"
"""What every view says of adaptive attacks."""

SHOWN = (
    Shown("mean_accuracy", "mean", formats.percent, _ALL, "%", "high", True),
    Shown("peak_accuracy", "peak (oracle)", formats.percent, _CHOICE, "%", high_first=True),
    Shown("half_width_95", "± 95 %", formats.percent, _TABLES - {View.LATEX}),
    Shown("worst_accuracy", "worst", formats.percent, _ALL, "%", "high", True),
    Shown("best_known_accuracy", "best known attack", formats.percent, _BEST_KNOWN, "%", high_first=True),
    Shown("adaptive_attacks", "adaptive attacks", str, _CHOICE, high_first=True),
    Shown("mean_without_one", "without one attack", formats.percent, _CHOICE, "%", high_first=True),
    Shown("held_out_mean", "held out", formats.percent, _CHOICE, "%", high_first=True),
    Shown("held_out_worst", "held out, worst", formats.percent, _CHOICE, "%", high_first=True),
    Shown("tuning_seconds", "tuning", formats.seconds, _CHOICE),
    Shown("clean_accuracy", "clean", formats.percent, _ALL, "%", "high", True),
    Shown("recovery", "recovery", formats.ratio, _TABLES | _CHOICE, best="high", high_first=True),
    Shown("cost_seconds", "cost", formats.seconds, _ALL, best="low"),
    Shown("cost_multiple", "× training", formats.multiple, _ALL, best="low"),
    Shown("cost_rank", "cost rank", str, _CHOICE),
    Shown("purify_seconds", "purify", formats.seconds, _CHOICE),
    Shown("extra_train_seconds", "extra train", formats.seconds, _CHOICE),
    Shown("warm_seconds", "rehearsal", formats.seconds, _CHOICE),
    Shown("peak_gpu_bytes", "peak GPU", formats.size, _CHOICE),
    Shown("peak_host_bytes", "peak host", formats.size, _CHOICE),
    Shown("cost_energy_joules", "energy", formats.joules, _CHOICE),
    Shown("seconds_per_point", "cost per point", formats.seconds, _CHOICE),
    Shown("joules_per_point", "energy per point", formats.joules, _CHOICE),
    Shown("attacks_that_took", "attacks that took", str, _CHOICE, high_first=True),
    *(Shown(f"attacks_at_{target}", f"attacks at {target} %", str, _CHOICE, high_first=True) for target in TARGETS),
    *(Shown(f"seconds_to_{target}", f"time to {target} %", formats.seconds, _CHOICE) for target in TARGETS),
    Shown("n", "n", str, _TABLES | _CHOICE, high_first=True),
    Shown("seeds", "seeds", str, _CHOICE, high_first=True),
    Shown("device", "device", AND.join, _CHOICE),
    Shown("uses", "uses", _listed, _CHOICE),
    Shown("flags", "flags", _listed, _CHOICE),
)
"""All columns with one value per row; the page shows the attacks behind them."""


def shown_in(*views: View) -> list[Shown]:
    """The columns of these views."""
    return [column for column in SHOWN if column.views & set(views)]


def of_attack(attack: str) -> Shown:
    """The column with the accuracy against one attack; no value is the best against one that knows a single defense."""
    adaptive = names_adaptive(attack)
    meaning = f"accuracy in % against {attack}" + (f": {ADAPTIVE_NOTE}" if adaptive else "")
    best = "" if adaptive else "high"
    return Shown(accuracy_column(attack), attack, formats.percent, _TABLES | _CHOICE, "", best, True, meaning)


def attack_columns(rows: pd.DataFrame) -> list[Shown]:
    """The accuracies of these rows against each attack that knows no defense."""
    return [of_attack(attack) for attack in accuracy_columns(rows) if not names_adaptive(attack)]


def adaptive_columns(rows: pd.DataFrame) -> list[Shown]:
    """The best known attack and each adaptive one, as far as these rows have values; they stand last in every view."""
    adaptive = [of_attack(attack) for attack in accuracy_columns(rows) if names_adaptive(attack)]
    return [column for column in [*shown_in(View.ADAPTIVE), *adaptive] if rows[column.name].notna().any()]


def value_with_range(column: Shown, row: pd.Series[Any]) -> str:
    """The text of a value; a cost has its measured range in brackets."""
    text = formats.DASH if formats.is_missing(row[column.name]) else column.text(row[column.name])
    within = formats.span(row["cost_seconds_min"], row["cost_seconds_max"]) if column.name == "cost_seconds" else ""
    return f"{text} ({within})" if within else text
