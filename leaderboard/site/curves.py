"""Curves of accuracy over a parameter as drawings: positions in an SVG that the template places, without a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.site.label_placement import spread
from leaderboard.tables.curves import CURVE, point_text

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 42, 440, 12, 262  # of the area of the curves; labels stand to the right of it
AREA = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
COLORS = 8
_LABEL = 15  # px between the base lines of two labels
_TICK = 46  # px between two ticks
_DECADES = 30  # a wider range of positive values has a logarithmic axis


@dataclass(frozen=True)
class Line:
    """A curve: points and intervals in pixels, the level without defense, and the label at its end.

    `style` numbers the color, `again` how often all colors were used before (another dash).
    """

    name: str
    style: int
    again: int
    points: list[tuple[float, float]]
    intervals: list[tuple[float, float, float]]
    undefended: float | None
    label: float

    @property
    def path(self) -> str:
        """For an SVG polyline."""
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)


@dataclass(frozen=True)
class CurveFigure:
    """Curves of one parameter, as a drawing and as a table.

    Attributes:
        title: the component.
        parameter: its varied parameter.
        varied: `attack` or `defense`.
        lines: a curve for each attack or defense.
        clean: height of the clean baseline in pixels, or None.
        ticks: position in pixels and text of values of the parameter.
        heads: names of the lines.
        rows: a value and the accuracies of the lines, as text.
        logarithmic: of the axis of the parameter.
        words: what the figure shows, in a sentence.
    """

    title: str
    parameter: str
    varied: str
    lines: list[Line]
    clean: float | None
    ticks: list[tuple[float, str]]
    heads: list[str]
    rows: list[list[str]]
    logarithmic: bool
    words: str


def curve_figures(curves: pd.DataFrame) -> list[CurveFigure]:
    """The figures of one group of the board, from rows of `curves_frame`."""
    return [_figure(points) for _, points in curves.groupby(CURVE, sort=False)]


def _figure(points: pd.DataFrame) -> CurveFigure:
    first = points.iloc[0]
    values = sorted(points["value"].unique())
    logarithmic = is_logarithmic(values)
    place = {value: _across(value, values[0], values[-1], logarithmic) for value in values}
    names = list(dict.fromkeys(points["against"]))
    lines = [_line(n, points[points["against"] == name], place) for n, name in enumerate(names)]
    labels = spread([line.points[-1][1] for line in lines], _LABEL, TOP, HEIGHT - 8)
    by_place = points.set_index(["value", "against"])
    return CurveFigure(
        title=first["component"],
        parameter=first["parameter"],
        varied=first["varied"],
        lines=[Line(**{**vars(line), "label": round(label, 1)}) for line, label in zip(lines, labels, strict=True)],
        clean=_down(first["clean_baseline_accuracy"]),
        ticks=_ticks(place),
        heads=names,
        rows=[[formats.number(value), *(point_text(by_place, (value, name)) for name in names)] for value in values],
        logarithmic=logarithmic,
        words=f"Accuracy over {first['parameter']} of {first['component']}, {len(values)} values, {len(names)} lines; "
        "the values are in the table below",
    )


def is_logarithmic(values: Sequence[float]) -> bool:
    """True if the axis of these values, in rising order, is logarithmic."""
    return values[0] > 0 and values[-1] / values[0] >= _DECADES


def _line(number: int, points: pd.DataFrame, place: dict[float, float]) -> Line:
    known = points[points["clean_test_accuracy"].notna()].sort_values("value")
    drawn = [(place[row.value], _down(row.clean_test_accuracy) or 0.0) for row in known.itertuples()]
    intervals = [
        (
            place[row.value],
            _clipped(row.clean_test_accuracy - row.half_width_95),
            _clipped(row.clean_test_accuracy + row.half_width_95),
        )
        for row in known.itertuples()
        if not math.isnan(row.half_width_95)
    ]
    undefended = known["undefended_accuracy"].iloc[0] if known["varied"].iloc[0] == "defense" else None
    return Line(
        known["against"].iloc[0], number % COLORS, number // COLORS, drawn, intervals, _down(undefended), drawn[-1][1]
    )


def _across(value: float, low: float, high: float, logarithmic: bool) -> float:
    if logarithmic:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return round(LEFT + 10 + (RIGHT - LEFT - 20) * (value - low) / (high - low), 1)


def _down(accuracy: Any) -> float | None:
    return None if formats.is_missing(accuracy) else round(BOTTOM - (BOTTOM - TOP) * float(accuracy), 1)


def _clipped(accuracy: float) -> float:
    return _down(min(1.0, max(0.0, accuracy))) or 0.0


def _ticks(place: dict[float, float]) -> list[tuple[float, str]]:
    """Values that have room below the axis."""
    kept: list[tuple[float, str]] = []
    for value, x in place.items():
        if not kept or x - kept[-1][0] >= _TICK:
            kept.append((x, formats.number(value)))
    return kept
