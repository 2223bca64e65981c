"""Published next to measured values as the page shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench import formats
from leaderboard.published.values import DIFFERS, NOT_COMPARABLE, OTHER_METHOD, REPRODUCED, UNDECIDED, Comparison

MARKS = {REPRODUCED: "✓", DIFFERS: "≠", UNDECIDED: "?", NOT_COMPARABLE: "○", OTHER_METHOD: "◇"}
_COMPARABLE_FIRST = {REPRODUCED: 0, DIFFERS: 0, UNDECIDED: 0, NOT_COMPARABLE: 1, OTHER_METHOD: 2}


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


def comparison_view(found: Sequence[Comparison]) -> ComparisonView:
    """Rows of all comparisons, comparable ones first."""
    counts = Counter(comparison.verdict for comparison in found)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in MARKS if verdict in counts)
    rows = sorted(found, key=lambda comparison: _COMPARABLE_FIRST[comparison.verdict])
    return ComparisonView([comparison_row(comparison) for comparison in rows], summary)


def comparison_row(found: Comparison) -> ComparisonRow:
    """One comparison in words; the same on the board and on the page of a cell."""
    measured, published = found.measured, found.published
    std = formats.plus_minus(published.accuracy, published.std)
    parts = (found.reason, published.budget and f"published budget {published.budget}", published.note)
    return ComparisonRow(
        attack="clean data" if measured.attack_selection == "none" else measured.attack_selection,
        defense=measured.defense_selection,
        measured=formats.plus_minus(measured.accuracy, measured.half_width_95),
        published=std if published.std is None else f"{std} (std)",
        difference=formats.signed_points(found.difference),
        verdict=f"{MARKS[found.verdict]} {found.verdict}",
        reason="; ".join(filter(None, parts)),
        recipe=found.recipe_difference,
        source=", ".join(filter(None, (f"{published.source} ({published.year})", published.mark_text))),
    )
