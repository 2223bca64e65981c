"""Published next to measured values as the page shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench import formats
from leaderboard.published.values import DIFFERS, NOT_COMPARABLE, OTHER_METHOD, REPRODUCED, UNDECIDED, Comparison

MARKS = {REPRODUCED: "✓", DIFFERS: "≠", UNDECIDED: "?", NOT_COMPARABLE: "○", OTHER_METHOD: "◇"}
_JOIN = "; "  # of the reasons of `compare`
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
    """The published values of a group, and how many of each verdict.

    `shared` are the reasons of all values that are not comparable, which the rows do not repeat.
    """

    rows: list[ComparisonRow]
    summary: str
    shared: str


def comparison_view(found: Sequence[Comparison]) -> ComparisonView:
    """Rows of all comparisons, comparable ones first."""
    shared = _shared([comparison for comparison in found if comparison.verdict == NOT_COMPARABLE])
    counts = Counter(comparison.verdict for comparison in found)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in MARKS if verdict in counts)
    in_order = sorted(found, key=lambda comparison: _COMPARABLE_FIRST[comparison.verdict])
    rows = [_without(shared, comparison) for comparison in in_order]
    return ComparisonView([comparison_row(comparison) for comparison in rows], summary, _JOIN.join(shared))


def _shared(found: Sequence[Comparison]) -> list[str]:
    """The reasons that all of several values have."""
    first, *others = (comparison.reason.split(_JOIN) for comparison in found) if len(found) > 1 else ([],)
    return [reason for reason in first if all(reason in other for other in others)]


def _without(shared: Sequence[str], found: Comparison) -> Comparison:
    if found.verdict != NOT_COMPARABLE:
        return found
    return replace(found, reason=_JOIN.join(r for r in found.reason.split(_JOIN) if r not in shared))


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
        reason=_JOIN.join(filter(None, parts)),
        recipe=found.recipe_difference,
        source=", ".join(filter(None, (f"{published.source} ({published.year})", published.mark_text))),
    )
