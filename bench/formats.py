"""Numbers as people read them, on the terminal, in the tables and on the pages; an unmeasured value is a dash.

Files for machines never use these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

DASH = "–"
MINUS = "−"
_TIMES = ((1e-3, 1e-6, "µs"), (1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h"))
_SIZES = ((2**20, 2**10, "KiB"), (2**30, 2**20, "MiB"), (math.inf, 2**30, "GiB"))
_ENERGIES = ((1e3, 1, "J"), (1e6, 1e3, "kJ"), (math.inf, 1e6, "MJ"))


def is_missing(value: Any) -> bool:
    """True for None, NaN and pandas' NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # NA: neither equal nor unequal to itself
        return True


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things in words: `1 image`, `3 images`, `2 classes`."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def device(name: str) -> str:
    """A recorded device in words. The record keeps `1 threads`: costs of the same name are compared."""
    return name.replace(", 1 threads", ", 1 thread")


def isolated(name: str) -> str:
    """A name for the middle of a sentence: its direction of writing ends with it.

    Plain ASCII has none and stays as it is; other names get the Unicode marks for it (FSI and PDI).
    """
    return name if name.isascii() else f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def _signed(text: str) -> str:
    """A number's text with a real minus sign: of the number and of an exponent."""
    return text.replace("-", MINUS)


def percent(fraction: Any) -> str:
    """A fraction in points: 0.946 gives `94.6`."""
    return DASH if is_missing(fraction) else _signed(f"{100 * fraction:.1f}")


def signed_points(fraction: Any) -> str:
    """A difference of fractions in points, with its sign: `+0.4`, `−2.1`."""
    return DASH if is_missing(fraction) else _signed(f"{100 * fraction:+.1f}")


def plus_minus(accuracy: Any, half_width: Any) -> str:
    """An accuracy with half the width of its interval, both in points: `94.6 ± 0.3`; without one, the accuracy."""
    text = percent(accuracy)
    return text if is_missing(half_width) else f"{text} ± {percent(half_width)}"


def ratio(value: Any) -> str:
    """A plain ratio such as recovery: `0.93`."""
    return DASH if is_missing(value) else _signed(f"{value:.2f}")


def multiple(value: Any) -> str:
    """A cost multiple: `1.002×`, `5.00×`, `41.3×`; more digits near 1, where the differences are."""
    if is_missing(value):
        return DASH
    digits = next(digits for limit, digits in ((1.1, 3), (10, 2), (math.inf, 1)) if value < limit)
    return _signed(f"{value:.{digits}f}×")


def number(value: Any) -> str:
    """A number of any kind: an integer whole, any other with six significant digits; text as it is."""
    if is_missing(value):
        return DASH
    return str(value) if isinstance(value, str) else _signed(f"{value:.6g}" if isinstance(value, float) else str(value))


def setting(value: Any) -> Any:
    """A parameter for readers: a float as `8/255` where it is one (within 1e-9), else with six significant digits.

    Lists and tables hold such texts too; anything else stays as it is.
    """
    if isinstance(value, dict):
        return {name: setting(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [setting(inner) for inner in value]
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    levels, plain = f"{255 * value:.1f}".removesuffix(".0"), f"{value:.6g}"
    close = 0 < value < 1 and abs(float(levels) / 255 - value) < 1e-9
    return f"{levels}/255" if close and float(plain) != value else _signed(plain)


def seconds(value: Any) -> str:
    """A measured time in its own unit: `0 s`, `6.3 µs`, `12 ms`, `4 s`, `6.7 min`, `3.1 h`."""
    return "0 s" if not is_missing(value) and value == 0 else _scaled(value, _TIMES)


def duration(value: float) -> str:
    """A time as on a clock, for progress: `8.2 s`, `3 min 20 s`, `2 h 05 min`, `3 days 4 h`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def span(low: Any, high: Any) -> str:
    """A range of times: `3.9–4.4 s`, `900 ms–1.2 s`, `−40 to −38 s`; "" if unknown or both ends print alike."""
    first, last = seconds(low), seconds(high)
    if is_missing(low) or is_missing(high) or first == last:
        return ""
    number, unit = first.split(" ")
    dash = " to " if low < 0 else "–"  # a dash next to a minus sign is misread
    return f"{number}{dash}{last}" if last.endswith(f" {unit}") else f"{first}{dash}{last}"


def runs(times: Sequence[float], first_counts: bool) -> str:
    """Several runs of one stage: `median of 3 runs: 200 ms to 330 ms`; or the first run, where that is the cost."""
    which = "first run, which was slower than its repeats," if first_counts else "median"
    return f"{which} of {len(times)} runs: {seconds(min(times))} to {seconds(max(times))}"


def size(value: Any) -> str:
    """Bytes as `4.6 KiB`, `312 MiB` or `2.4 GiB`."""
    return _scaled(value, _SIZES)


def joules(value: Any) -> str:
    """Energy as `20 J`, `40 kJ` or `1.2 MJ`."""
    return _scaled(value, _ENERGIES)


def decibels(value: float | None) -> str:
    """A PSNR: `34.3 dB`; None is that of equal images."""
    return "equal" if value is None else f"{value:.1f} dB"


def _scaled(value: Any, units: Sequence[tuple[float, float, str]]) -> str:
    """The value in the first unit below whose limit it is, with three significant digits."""
    if is_missing(value):
        return DASH
    divisor, unit = next((divisor, unit) for limit, divisor, unit in units if abs(value) < limit)
    scaled = value / divisor
    return f"{_signed(f'{scaled:.0f}' if abs(scaled) >= 100 else f'{scaled:.3g}')} {unit}"
