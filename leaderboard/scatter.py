"""Accuracy versus cost as a Plotly figure in plain dictionaries; drawn by the page, never by Python."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import pandas as pd

from leaderboard import formats
from leaderboard.labels import label_positions


@dataclass(frozen=True)
class Point:
    """A defense in the plane.

    Attributes:
        name: selection, not escaped.
        extra: cost in undefended trainings beyond one: cost_multiple - 1.
        accuracy: mean over attacks, percent.
        oracle: chosen with test labels.
        hover: HTML, escaped.
    """

    name: str
    extra: float
    accuracy: float
    oracle: bool
    hover: str


@dataclass(frozen=True)
class Axis:
    """The logarithmic cost axis: ends and lane as powers of ten; the lane is None if every cost is above 0."""

    left: float
    right: float
    lane: float | None

    def power(self, point: Point) -> float:
        """Where the point stands, as a power of ten."""
        if point.extra > 0:
            return math.log10(point.extra)
        assert self.lane is not None
        return self.lane

    def ticks(self) -> dict[str, Any]:
        """Range and one tick a decade, as Plotly takes them."""
        first = self.left if self.lane is None else self.lane + 0.3
        powers = range(math.ceil(first), math.floor(self.right) + 1)
        ticks = {} if self.lane is None else {10**self.lane: "≤ 0"}
        ticks |= {10.0**power: f"{10.0**power:g}×" if power > -4 else f"10<sup>{power}</sup>×" for power in powers}
        return {"range": [self.left, self.right], "tickvals": list(ticks), "ticktext": list(ticks.values())}


def figure(group: pd.DataFrame) -> dict[str, Any] | None:
    """Figure of one group (data set, preset, victim), or None if no defended row has both mean and cost.

    The x axis is logarithmic: what the defense costs beyond an undefended training, in such trainings. A cost of zero
    or less has no place there and stands in a lane of its own on the left. Undefended and clean training cost nothing
    and are drawn as horizontal lines. The Pareto front runs through single defenses only, and is left out where
    costs come from several devices.
    """
    points = _points(group)
    if not points:
        return None
    axis, (bottom, top) = _axis(points), _accuracy_range(group)
    front = [] if group["flags"].str.contains("several devices").any() else _front(points, axis)
    lines = [
        _line("clean baseline", "reference", "dot", _level(group, "clean_accuracy", axis)),
        _line("undefended", "reference", "dash", _level(group, "mean_accuracy", axis)),
        _line("Pareto front", "front", "solid", front),
    ]

    def relative(power: float, accuracy: float) -> tuple[float, float]:
        return (power - axis.left) / (axis.right - axis.left), (accuracy - bottom) / (top - bottom)

    drawn = [[relative(math.log10(x), y) for x, y in zip(line["x"], line["y"], strict=True)] for line in lines]
    segments = [segment for ends in drawn for segment in pairwise(ends)]
    places = [relative(axis.power(point), point.accuracy) for point in points]
    positions = label_positions(places, [point.name for point in points], segments)
    labeled = list(zip(points, positions, strict=True))
    markers = [
        _markers("defense", "single", [pair for pair in labeled if not pair[0].oracle], axis),
        _markers("oracle: best per attack", "oracle", [pair for pair in labeled if pair[0].oracle], axis),
    ]
    return {
        "data": [trace for trace in [*lines, *markers] if trace["x"]],
        "layout": {
            "xaxis": {"type": "log", "title": {"text": "extra cost, in undefended trainings"}} | axis.ticks(),
            "yaxis": {"title": {"text": "mean accuracy (%)"}, "range": [bottom, top]},
        },
    }


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, accuracy) points that no cheaper or equally cheap point matches in accuracy, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


def _front(points: list[Point], axis: Axis) -> list[tuple[float, float]]:
    """Corners of the front's steps, up to the right edge."""
    front = pareto_front([(10 ** axis.power(point), point.accuracy) for point in points if not point.oracle])
    corners = [front[0], *(corner for a, b in pairwise(front) for corner in ((b[0], a[1]), b))] if front else []
    return [*corners, *((10**axis.right, accuracy) for _, accuracy in corners[-1:])]


def _points(group: pd.DataFrame) -> list[Point]:
    rows = group[(group["defense"] != "none") & group["mean_accuracy"].notna() & group["cost_multiple"].notna()]
    return [
        Point(
            name=row["defense_selection"],
            extra=row["cost_multiple"] - 1,
            accuracy=round(100 * row["mean_accuracy"], 3),
            oracle="oracle" in row["flags"],
            hover=f"<b>{escape(row['defense_selection'])}</b><br>{formats.percent(row['mean_accuracy'])} % mean, "
            f"{formats.percent(row['worst_accuracy'])} % worst ({escape(row['worst_attack'])})<br>"
            f"{formats.seconds(row['cost_seconds'])}, {formats.multiple(row['cost_multiple'])} an undefended training",
        )
        for _, row in rows.iterrows()
    ]


def _axis(points: list[Point]) -> Axis:
    powers = [math.log10(point.extra) for point in points if point.extra > 0] or [-1.0, 0.0]
    left, right = max(math.floor(min(powers)), min(powers) - 0.5), min(math.ceil(max(powers)), max(powers) + 0.5)
    free = all(point.extra > 0 for point in points)
    return Axis(left - (0.15 if free else 1.0), right + 0.15, None if free else left - 0.6)


def _accuracy_range(group: pd.DataFrame) -> tuple[float, float]:
    """All accuracies with air for the labels, in percent."""
    undefended = group["defense"] == "none"
    values = pd.concat([group["mean_accuracy"], group.loc[undefended, "clean_accuracy"]]).dropna() * 100
    air = max(0.12 * (values.max() - values.min()), 2.0)
    return round(max(values.min() - air, -2.0), 3), round(min(values.max() + air, 104.0), 3)


def _markers(name: str, role: str, labeled: list[tuple[Point, str]], axis: Axis) -> dict[str, Any]:
    return {
        "name": name,
        "meta": role,
        "mode": "markers+text",
        "text": [escape(point.name) for point, _ in labeled],
        "textposition": [position for _, position in labeled],
        "hovertext": [point.hover for point, _ in labeled],
        "hoverinfo": "text",
        "showlegend": role == "oracle",
        "marker": {"symbol": "diamond-open" if role == "oracle" else "circle"},
    } | _xy([(10 ** axis.power(point), point.accuracy) for point, _ in labeled])


def _level(group: pd.DataFrame, column: str, axis: Axis) -> list[tuple[float, float]]:
    """Ends of the horizontal line at a value of the undefended row."""
    levels = [round(100 * value, 3) for value in group.loc[group["defense"] == "none", column].dropna()]
    return [(10**end, level) for level in levels for end in (axis.left, axis.right)]


def _line(name: str, role: str, dash: str, ends: list[tuple[float, float]]) -> dict[str, Any]:
    return {"name": name, "meta": role, "mode": "lines", "line": {"dash": dash}, "hoverinfo": "name+y"} | _xy(ends)


def _xy(points: list[tuple[float, float]]) -> dict[str, Any]:
    return {"x": [point[0] for point in points], "y": [point[1] for point in points]}
