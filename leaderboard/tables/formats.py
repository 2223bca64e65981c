"""Numbers as people read them; an unmeasured value is a dash. Files for machines never use these."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

DASH = "–"


def is_missing(value: Any) -> bool:
    """True for None, NaN and pandas' NA."""
    return value is None or bool(pd.isna(value))


def isolated(name: str) -> str:
    """A name for the middle of a sentence: no direction of writing in it goes beyond it.

    Plain ASCII has none and stays as it is; other names get the Unicode marks for it (FSI and PDI).
    """
    return name if name.isascii() else f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def percent(fraction: Any) -> str:
    """A fraction in points: 0.946 gives `94.6`."""
    return DASH if is_missing(fraction) else f"{100 * fraction:.1f}"


def signed_points(fraction: Any) -> str:
    """A difference of fractions in points, with its sign: `+0.4`, `−2.1`."""
    return DASH if is_missing(fraction) else f"{100 * fraction:+.1f}".replace("-", "−")


def ratio(value: Any) -> str:
    """A plain ratio such as recovery: `0.93`."""
    return DASH if is_missing(value) else f"{value:.2f}"


def multiple(value: Any) -> str:
    """A cost multiple: `1.002×`, `5.00×`, `41.3×`; more digits near 1, where the differences are."""
    if is_missing(value):
        return DASH
    return f"{value:.3f}×" if value < 1.1 else f"{value:.2f}×" if value < 10 else f"{value:.1f}×"


def seconds(value: Any) -> str:
    """A duration in its own unit: `0 s`, `6.3 µs`, `12 ms`, `4 s`, `6.7 min`, `3.1 h`."""
    if is_missing(value):
        return DASH
    if value == 0:
        return "0 s"
    size = abs(value)
    for limit, divisor, unit in (
        (1e-3, 1e-6, "µs"),
        (1, 1e-3, "ms"),
        (120, 1, "s"),
        (7200, 60, "min"),
        (math.inf, 3600, "h"),
    ):
        if size < limit:
            return f"{_short(value / divisor)} {unit}"
    raise AssertionError("the last limit is infinite")


def span(low: Any, high: Any) -> str:
    """A range of durations: `3.9–4.4 s`, `900 ms–1.2 s`, `-40 to -38 s`; "" if unknown or both ends print alike."""
    first, last = seconds(low), seconds(high)
    if is_missing(low) or is_missing(high) or first == last:
        return ""
    number, unit = first.split(" ")
    dash = " to " if low < 0 else "–"  # a dash next to a minus sign is misread
    return f"{number}{dash}{last}" if last.endswith(f" {unit}") else f"{first}{dash}{last}"


def cost(row: Any) -> str:
    """The cost of a leaderboard row with its range: `4.1 s (3.9–4.4 s)`."""
    within = span(row["cost_seconds_min"], row["cost_seconds_max"])
    return seconds(row["cost_seconds"]) + (f" ({within})" if within else "")


def gibibytes(value: Any) -> str:
    """Bytes as `312 MiB` or `2.4 GiB`."""
    if is_missing(value):
        return DASH
    return f"{value / 2**20:.0f} MiB" if value < 2**30 else f"{_short(value / 2**30)} GiB"


def joules(value: Any) -> str:
    """Energy as `20 J`, `40 kJ` or `1.2 MJ`."""
    if is_missing(value):
        return DASH
    for limit, divisor, unit in ((1e3, 1, "J"), (1e6, 1e3, "kJ"), (math.inf, 1e6, "MJ")):
        if abs(value) < limit:
            return f"{_short(value / divisor)} {unit}"
    raise AssertionError("the last limit is infinite")


def _short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
