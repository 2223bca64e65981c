"""Ranks; results that cannot be told apart share one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from leaderboard.tables.costs import Spread

Result = tuple[float, float | None]


def accuracy_ranks(means: Sequence[float], half_widths: Sequence[float | None]) -> list[int]:
    """Competition ranks (1, 1, 3, ...), highest mean first.

    A result shares the rank of the first result with that rank if the two print alike (0.1 points), or if they differ
    by less than the 95 % interval of their difference. Sharing does not pass on: what is close to the second alone
    comes next.

    Args:
        means: fractions.
        half_widths: fractions; None where nothing is known.
    """

    results = list(zip(means, half_widths, strict=True))
    return _competition([-mean for mean in means], lambda a, b: not separable(results[a], results[b]))


def separable(one: Result, other: Result) -> bool:
    """True if two (mean, half-width) pairs differ by the interval of their difference, and print differently.

    The one rule of ranks, bold numbers, the headline and Compare (`compare.js`).
    """
    return abs(one[0] - other[0]) >= interval(one, other) and round(100 * one[0], 1) != round(100 * other[0], 1)


def interval(one: Result, other: Result) -> float:
    """Half the 95 % interval of the difference: the root of the sum of squares of both half-widths."""
    return math.hypot(*(half_width or 0.0 for _, half_width in (one, other)))


def cost_ranks(costs: Sequence[Spread]) -> list[int]:
    """Competition ranks by the median, cheapest first.

    A cost shares the rank of the first cost with that rank if their ranges meet, if they differ by less than the
    wider of the two ranges, or if they agree to two significant digits.
    """

    def tied(a: int, b: int) -> bool:
        one, other = costs[a], costs[b]
        width = max(one.high - one.low, other.high - other.low)
        alike = f"{one.median:.1e}" == f"{other.median:.1e}"
        return alike or other.low <= one.high or abs(other.median - one.median) < width

    return _competition([cost.median for cost in costs], tied)


def _competition(values: Sequence[float], tied: Callable[[int, int], bool]) -> list[int]:
    order = sorted(range(len(values)), key=lambda index: values[index])
    ranks = [0] * len(values)
    first = 0
    for position, index in enumerate(order):
        if not tied(order[first], index):
            first = position
        ranks[index] = first + 1
    return ranks
