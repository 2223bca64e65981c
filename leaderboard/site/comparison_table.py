"""Published next to measured values as the page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.published.values import DIFFERS, NOT_COMPARABLE, OTHER_METHOD, REPRODUCED

MARKS = {REPRODUCED: "✓", DIFFERS: "≠", NOT_COMPARABLE: "○", OTHER_METHOD: "◇"}
_COMPARABLE_FIRST = {REPRODUCED: 0, DIFFERS: 0, NOT_COMPARABLE: 1, OTHER_METHOD: 2}


@dataclass(frozen=True)
class ComparisonRow:
    """One published value with what was measured, in words."""

    attack: str
    defense: str
    measured: str
    published: str
    difference: str
    verdict: str
    reason: str
    recipe: str
    source: str


@dataclass(frozen=True)
class ComparisonView:
    """The published values of a group, and how many of each verdict."""

    rows: list[ComparisonRow]
    summary: str


def comparison_view(comparison: pd.DataFrame) -> ComparisonView:
    """Rows of `comparison_frame`, comparable ones first."""
    order = comparison.sort_values("verdict", key=lambda verdicts: verdicts.map(_COMPARABLE_FIRST), kind="stable")
    counts = comparison["verdict"].value_counts()
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in MARKS if verdict in counts)
    return ComparisonView([_row(row) for row in order.to_dict("records")], summary)


def _row(row: dict[Any, Any]) -> ComparisonRow:
    return ComparisonRow(
        attack="clean data" if row["attack_selection"] == "none" else row["attack_selection"],
        defense=row["defense_selection"],
        measured=_with(row["measured_accuracy"], row["measured_half_width_95"], ""),
        published=_with(row["published_accuracy"], row["published_std"], " (std)"),
        difference=formats.signed_points(row["difference"]),
        verdict=f"{MARKS[row['verdict']]} {row['verdict']}",
        reason="; ".join(part for part in (row["reason"], row["note"]) if part),
        recipe=row["recipe_difference"],
        source=", ".join(part for part in (f"{row['source']} ({row['year']})", row["marks"]) if part),
    )


def _with(accuracy: Any, spread: Any, kind: str) -> str:
    text = formats.percent(accuracy)
    return text if formats.is_missing(spread) else f"{text} ± {formats.percent(spread)}{kind}"
