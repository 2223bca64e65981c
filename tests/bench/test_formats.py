from typing import Any

import pandas as pd
import pytest

from bench.formats import (
    DASH,
    counted,
    device,
    duration,
    joules,
    multiple,
    number,
    percent,
    ratio,
    runs,
    seconds,
    setting,
    signed_points,
    size,
    span,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.0123, "12.3 ms"),
        (4.0, "4 s"),
        (119.7, "120 s"),
        (400, "6.67 min"),
        (11_160, "3.1 h"),
        (-3, "−3 s"),
    ],
)
def test_seconds_in_their_own_unit(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (3.9, 4.4, "3.9–4.4 s"),
        (0.9, 1.2, "900 ms–1.2 s"),
        (-40, -38, "−40 to −38 s"),
        (-0.5, 2, "−500 ms to 2 s"),
        (1.0001, 1.0002, ""),
        (None, 1, ""),
    ],
)
def test_ranges_of_seconds(low: float | None, high: float, text: str) -> None:
    assert span(low, high) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.2, "8.2 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (273_600, "3 days 4 h")],
)
def test_durations_as_on_a_clock(value: float, text: str) -> None:
    assert duration(value) == text


def test_numbers_of_things() -> None:
    texts = [counted(0, "image"), counted(1, "image"), counted(2, "image"), counted(2, "class", "classes")]
    assert texts == ["0 images", "1 image", "2 images", "2 classes"]


def test_other_units() -> None:
    assert (percent(0.9456), ratio(0.926), multiple(1.0004), multiple(5.38)) == ("94.6", "0.93", "1.000×", "5.38×")
    assert (size(2.5 * 2**30), size(2**28), joules(0), joules(40_000)) == (
        "2.5 GiB",
        "256 MiB",
        "0 J",
        "40 kJ",
    )
    assert (size(4711), number(0.25), number(3), runs([0.24, 0.2, 0.33], False)) == (
        "4.6 KiB",
        "0.25",
        "3",
        "median of 3 runs: 200 ms to 330 ms",
    )


def test_a_negative_number_has_a_minus_sign_not_a_hyphen() -> None:
    texts = [percent(-0.021), ratio(-0.5), multiple(-2.0), number(-1), number(-2.5e-9), joules(-40_000)]
    assert texts == ["−2.1", "−0.50", "−2.000×", "−1", "−2.5e−09", "−40 kJ"]
    assert signed_points(-0.021) == "−2.1"
    assert number("a-b") == "a-b", "text stays as it is"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (0.0313725490, "8/255"),
        (0.8 / 255, "0.8/255"),
        (0.031, "0.031"),
        (0.2, "0.2"),  # 51/255, and shorter
        (1.3041, "1.3041"),
        (1.0, "1"),
        (0.0123456789, "0.0123457"),
        (-0.5, "−0.5"),
        (60, 60),
        (True, True),
        (None, None),
        ("8/255", "8/255"),
        ([8 / 255, 1], ["8/255", 1]),
        ({"lr": 0.1, "deep": {"eps": 4 / 255}}, {"lr": "0.1", "deep": {"eps": "4/255"}}),
    ],
)
def test_a_setting_is_written_as_readers_know_it(value: Any, text: Any) -> None:
    assert setting(value) == text


def test_unmeasured_is_a_dash_and_never_zero() -> None:
    assert {f(None) for f in (percent, ratio, multiple, seconds, size, joules)} == {DASH}
    assert {f(x) for f in (percent, multiple, seconds, size) for x in (float("nan"), pd.NA)} == {DASH}


def test_one_thread_is_no_plural():
    assert device("AMD EPYC, 1 threads, float32") == "AMD EPYC, 1 thread, float32"
    assert device("AMD EPYC, 11 threads") == "AMD EPYC, 11 threads"
