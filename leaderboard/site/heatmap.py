"""The heat map: each defense against each attack, measured and published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench import formats
from leaderboard.published.pairs import Pair
from leaderboard.published.values import (
    DIFFERS,
    NOT_COMPARABLE,
    REPRODUCED,
    UNDECIDED,
    Comparison,
)
from leaderboard.site.comparison_table import MARKS


@dataclass(frozen=True)
class HeatCell:
    """One defense against one attack: percent, half-width, first cell, published range and its verdict.

    The style sheet colors a measured cell by its percent.
    """

    attack: int
    text: str
    interval: str
    measured: bool
    key: str
    published: str
    verdict: str
    note: str


@dataclass(frozen=True)
class HeatRow:
    """A defense in the heat map."""

    defense: str
    cells: list[HeatCell]


def heat_cell(attack: int, pair: Pair) -> HeatCell:
    """Values of the map for one defense against one attack; several sources are a range.

    `Pair.alike` says which are left out.
    """
    shown = pair.alike
    values = [found.published.accuracy for found in shown]
    published = "" if not values else formats.percent(min(values))
    if values and formats.percent(max(values)) != published:
        published += f"–{formats.percent(max(values))}"
    return HeatCell(
        attack=attack,
        text=formats.percent(pair.accuracy),
        interval="" if pair.half_width_95 is None else f"± {formats.percent(pair.half_width_95)}",
        measured=pair.accuracy is not None,
        key=pair.keys[min(pair.keys)] if pair.keys else "",
        published=published,
        verdict=MARKS[overall(shown)] if values else "",
        note="; ".join(_described(found) for found in shown),
    )


def overall(found: Sequence[Comparison]) -> str:
    """One verdict for several sources: reproduced if one agrees, for sources differ among themselves."""
    verdicts = {comparison.verdict for comparison in found}
    return next((verdict for verdict in (REPRODUCED, UNDECIDED, DIFFERS) if verdict in verdicts), NOT_COMPARABLE)


def _described(found: Comparison) -> str:
    return f"{found.published.source} {formats.percent(found.published.accuracy)}: {found.verdict} ({found.reason})"
