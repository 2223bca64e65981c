"""Mean, sample deviation and 95 % intervals, with one rule: a missing value gives no result."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scipy.special import stdtrit


def _complete(values: Iterable[float | None]) -> list[float] | None:
    """The values as a list, or None if there is none or one of them is missing (None or NaN)."""
    numbers: list[float] = []
    for value in values:
        if value is None or math.isnan(value):
            return None
        numbers.append(float(value))
    return numbers or None


def mean(values: Iterable[float | None]) -> float | None:
    """Arithmetic mean, or None if there is no value or one is missing: never the mean of what happens to exist."""
    numbers = _complete(values)
    return None if numbers is None else math.fsum(numbers) / len(numbers)


def sample_std(values: Iterable[float | None]) -> float | None:
    """Standard deviation with n - 1, or None if a value is missing or there are fewer than two."""
    numbers = _complete(values)
    if numbers is None or len(numbers) < 2:
        return None
    center = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((number - center) ** 2 for number in numbers) / (len(numbers) - 1))


def binomial_half_width_95(accuracy: float, images: int) -> float:
    """Half the width of the 95 % interval that a finite test set leaves around an accuracy (normal approximation).

    It says nothing about other seeds, so it is the least doubt about a single run.
    """
    return 1.96 * math.sqrt(accuracy * (1 - accuracy) / images)


def tie_width(mean_accuracy: float, half_width: float | None, images: int) -> float:
    """Difference that tells a mean apart: its interval over seeds, and at least the doubt of the test images.

    Args:
        mean_accuracy: a fraction.
        half_width: from `half_width_95`; None or NaN for one seed.
        images: of the test set.
    """
    over_seeds = 0.0 if half_width is None or math.isnan(half_width) else half_width
    return max(over_seeds, binomial_half_width_95(mean_accuracy, images))


def half_width_95(values: Iterable[float | None]) -> float | None:
    """Half the width of the 95 % Student-t interval of the mean: t(0.975, n - 1) * s / sqrt(n).

    None if a value is missing or there is only one: n = 1 has no interval.
    """
    numbers = _complete(values)
    deviation = None if numbers is None else sample_std(numbers)
    return None if numbers is None or deviation is None else half_width_of(deviation, len(numbers))


def half_width_of(deviation: float, n: int) -> float:
    """The same from a sample deviation of n >= 2 values."""
    return float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
