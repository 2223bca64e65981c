"""Accuracy versus cost as a Plotly figure in plain dictionaries; drawn by the page, never by Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import cycle, pairwise
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.site.label_placement import label_positions
from leaderboard.tables.columns import AND
from leaderboard.tables.flags import Flag, has, never_ranked

_MOST_LABELS = 14
_LABEL_WIDTH, _HOVER_WIDTH = 30, 60
_MOST_TICKS = 6  # of an axis of bytes
_TWO = math.log10(2)
_SYMBOLS = ("circle", "square", "triangle-up", "cross", "star", "hexagon")


@dataclass(frozen=True)
class CostAxis:
    """A cost that the x axis can show.

    Attributes:
        name: in the page's address.
        label: in the page's switch.
        title: of the axis, with its unit.
        columns: of the leaderboard; the first one that any row has is shown.
        text: a value of the axis in words.
        offset: subtracted before drawing, so that costing nothing is 0.
        binary: whether ticks are powers of two.
    """

    name: str
    label: str
    title: str
    columns: tuple[str, ...]
    text: Callable[[Any], str]
    offset: float = 0.0
    binary: bool = False

    def column(self, group: pd.DataFrame) -> str:
        """The column that this group has measured."""
        return next((name for name in self.columns if group[name].notna().any()), self.columns[0])


AXES = (
    CostAxis("trainings", "trainings", "extra cost, in undefended trainings", ("cost_multiple",), "{:g}×".format, 1.0),
    CostAxis("seconds", "seconds", "extra cost, wall time", ("cost_seconds",), formats.seconds),
    CostAxis("joules", "joules", "extra energy of the GPU", ("cost_energy_joules",), formats.joules),
    CostAxis("memory", "memory", "peak memory", ("peak_gpu_bytes", "peak_host_bytes"), formats.size, binary=True),
)


@dataclass(frozen=True)
class Point:
    """A defense in the plane.

    Attributes:
        row: its place in the board.
        name: selection, not escaped.
        cost: on the axis; 0 or less is in a lane of its own.
        accuracy: mean over attacks, percent.
        half_width: percent, or None.
        oracle: chosen with test labels.
        ranked: False if the row is never ranked, or its cost is of another device; such a point is not on the front.
        device: where the group was measured on several, otherwise "".
        hover: HTML, escaped.
    """

    row: int
    name: str
    cost: float
    accuracy: float
    half_width: float | None
    oracle: bool
    ranked: bool
    device: str
    hover: str

    @property
    def label(self) -> str:
        """The name, cut where it would cover its neighbors."""
        return _cut(self.name, _LABEL_WIDTH)


@dataclass(frozen=True)
class Axis:
    """The logarithmic cost axis: ends and lane as powers of ten; the lane is None if every cost is above 0."""

    left: float
    right: float
    lane: float | None

    def power(self, point: Point) -> float:
        """Position of the point, as a power of ten."""
        if point.cost > 0:
            return math.log10(point.cost)
        assert self.lane is not None
        return self.lane

    def ticks(self, cost: CostAxis) -> dict[str, Any]:
        """Range and ticks as Plotly takes them: one a decade (1, 2, 5 where the axis is short), or powers of two."""
        first = self.left if self.lane is None else self.lane + 0.3
        if cost.binary:
            powers = range(math.ceil(first / _TWO), math.floor(self.right / _TWO) + 1)
            values = [2.0**power for power in powers if power % math.ceil(len(powers) / _MOST_TICKS) == 0]
        else:
            digits = (1, 2, 5) if self.right - first < 2 else (1,)
            powers = range(math.floor(first), math.floor(self.right) + 1)
            values = [d * 10.0**p for p in powers for d in digits if first <= p + math.log10(d) <= self.right]
        ticks = {} if self.lane is None else {10**self.lane: "≤ 0"}
        ticks |= {value: cost.text(value) for value in values}
        return {"range": [self.left, self.right], "tickvals": list(ticks), "ticktext": list(ticks.values())}


def figures(group: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A figure for each cost axis on which something can be drawn, by the axis' name.

    An axis on which several defenses all print alike is left out: a front on it would follow noise. One axis stays.
    """
    drawn = {axis: value for axis in AXES if (value := figure(group, axis)) is not None}
    telling = [axis for axis in drawn if not _all_alike([axis.text(point.cost) for point in _points(group, axis)])]
    return {axis.name: drawn[axis] for axis in telling or list(drawn)[:1]}


def _all_alike(texts: list[str]) -> bool:
    return len(texts) > 1 and len(set(texts)) == 1


def figure(group: pd.DataFrame, cost: CostAxis = AXES[0]) -> dict[str, Any] | None:
    """Figure of one group of the board, or None if no defended row has both mean and this cost.

    The x axis is logarithmic. A cost of zero or less has no place there and is in a lane of its own on the left.
    Undefended and clean training are drawn as horizontal lines. Bars are 95 % intervals over seeds. The Pareto front
    runs through single defenses that may be ranked and whose costs are of the device of the undefended row. Where costs
    come from several devices, each has its symbol.
    """
    points = _points(group, cost)
    if not points:
        return None
    axis, (bottom, top) = _axis(points), _accuracy_range(group, points)
    front = _front(points, axis)
    undefended = group[group["defense"] == "none"]
    lines = [
        _line("Pareto front", "front", "solid", front),  # the first, so that it covers no other line
        _line("clean baseline", "reference", "dot", _level(undefended["clean_accuracy"], axis)),
        _line("undefended", "reference", "dash", _level(undefended["mean_accuracy"], axis)),
        _line("baseline envelope", "envelope", "dashdot", _level(group["envelope_accuracy"].head(1), axis)),
    ]

    def relative(power: float, accuracy: float) -> tuple[float, float]:
        return (power - axis.left) / (axis.right - axis.left), (accuracy - bottom) / (top - bottom)

    drawn = [[relative(math.log10(x), y) for x, y in zip(line["x"], line["y"], strict=True)] for line in lines]
    bars = [
        (relative(axis.power(point), point.accuracy - width), relative(axis.power(point), point.accuracy + width))
        for point in points
        if (width := point.half_width) is not None
    ]
    segments = [*bars, *(segment for ends in drawn for segment in pairwise(ends))]
    corners = {y for _, y in front}
    named = [point for point in points if len(points) <= _MOST_LABELS or point.accuracy in corners]
    places = [relative(axis.power(point), point.accuracy) for point in named]
    unnamed = [relative(axis.power(point), point.accuracy) for point in points if point not in named]
    positions = label_positions(places, [point.label for point in named], segments, unnamed)
    label = {point.row: position for point, position in zip(named, positions, strict=True)}
    singles = [point for point in points if not point.oracle]
    markers = []
    for device, symbol in zip(sorted({point.device for point in singles}), cycle(_SYMBOLS), strict=False):
        measured = [point for point in singles if point.device == device]
        markers.append(_markers(device or "defense", "single", measured, label, axis, symbol))
    oracles = [point for point in points if point.oracle]
    markers.append(_markers("oracle: best per attack", "oracle", oracles, label, axis, "diamond-open"))
    return {
        "data": [trace for trace in [*lines, *markers] if trace["x"]],
        "layout": {
            "xaxis": {"type": "log", "title": {"text": cost.title}} | axis.ticks(cost),
            "yaxis": {"title": {"text": "mean accuracy (%)"}, "range": [bottom, top]},
        },
    }


def on_several_devices(group: pd.DataFrame) -> bool:
    """True if costs of this group are of another device than its undefended row, so that they cannot be compared."""
    return any(has(Flag.SEVERAL_DEVICES, flags) for flags in group["flags"])


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, accuracy) points that no cheaper or equally cheap point matches in accuracy, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


def _front(points: list[Point], axis: Axis) -> list[tuple[float, float]]:
    """Corners of the front's steps, up to the right edge."""
    front = pareto_front([(10 ** axis.power(point), point.accuracy) for point in points if point.ranked])
    corners = [front[0], *(corner for a, b in pairwise(front) for corner in ((b[0], a[1]), b))] if front else []
    return [*corners, *((10**axis.right, accuracy) for _, accuracy in corners[-1:])]


def _points(group: pd.DataFrame, cost: CostAxis) -> list[Point]:
    column = cost.column(group)
    rows = group[(group["defense"] != "none") & group["mean_accuracy"].notna() & group[column].notna()]
    return [
        Point(
            row=int(str(index)),
            name=row["defense_selection"],
            cost=float(row[column]) - cost.offset,
            accuracy=round(100 * row["mean_accuracy"], 3),
            half_width=None if formats.is_missing(row["half_width_95"]) else round(100 * row["half_width_95"], 3),
            oracle=has(Flag.ORACLE, row["flags"]),
            ranked=not never_ranked(row["flags"]) and not has(Flag.SEVERAL_DEVICES, row["flags"]),
            device=AND.join(row["device"]) if on_several_devices(group) else "",
            hover=_hover(row),
        )
        for index, row in rows.iterrows()
    ]


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _hover(row: pd.Series[Any]) -> str:
    """Text of a point; names are cut, for a click on the point marks its row, which has them whole."""
    defense, worst = (
        escape(formats.isolated(_cut(row[n], _HOVER_WIDTH))) for n in ("defense_selection", "worst_attack")
    )
    interval = "" if formats.is_missing(row["half_width_95"]) else f" ± {formats.percent(row['half_width_95'])}"
    memory = row["peak_host_bytes"] if formats.is_missing(row["peak_gpu_bytes"]) else row["peak_gpu_bytes"]
    return (
        f"<b>{defense}</b><br>"
        f"{formats.percent(row['mean_accuracy'])}{interval} % mean, "
        f"{formats.percent(row['worst_accuracy'])} % worst ({worst})<br>"
        f"{formats.seconds(row['cost_seconds'])}, {formats.multiple(row['cost_multiple'])} an undefended training<br>"
        f"{formats.joules(row['cost_energy_joules'])}, {formats.size(memory)} peak"
        + (f"<br>on {escape(AND.join(row['device']))}" if has(Flag.SEVERAL_DEVICES, row["flags"]) else "")
    )


def _axis(points: list[Point]) -> Axis:
    powers = [math.log10(point.cost) for point in points if point.cost > 0] or [-1.0, 0.0]
    left, right = max(math.floor(min(powers)), min(powers) - 0.5), min(math.ceil(max(powers)), max(powers) + 0.5)
    if right - left < 0.5:
        left, right = left - 0.25, right + 0.25
    free = all(point.cost > 0 for point in points)
    return Axis(left - (0.15 if free else 1.0), right + 0.15, None if free else left - 0.6)


def _accuracy_range(group: pd.DataFrame, points: list[Point]) -> tuple[float, float]:
    """All accuracies and intervals with air for the labels, in percent."""
    undefended = group["defense"] == "none"
    values = [
        100 * value for value in (*group["mean_accuracy"].dropna(), *group.loc[undefended, "clean_accuracy"].dropna())
    ]
    values += [point.accuracy + sign * (point.half_width or 0) for point in points for sign in (-1, 1)]
    air = max(0.12 * (max(values) - min(values)), 2.0)
    return round(max(min(values) - air, -2.0), 3), round(min(max(values) + air, 104.0), 3)


def _markers(
    name: str, role: str, points: list[Point], label: dict[int, str], axis: Axis, symbol: str
) -> dict[str, Any]:
    return {
        "name": escape(name),
        "meta": role,
        "mode": "markers+text",
        "text": [escape(point.label) if point.row in label else "" for point in points],
        "textposition": [label.get(point.row, "top center") for point in points],
        "hovertext": [point.hover for point in points],
        "customdata": [point.row for point in points],
        "error_y": {"type": "data", "array": [point.half_width for point in points]},
        "hoverinfo": "text",
        "showlegend": name != "defense",
        "marker": {"symbol": symbol},
    } | _xy([(10 ** axis.power(point), point.accuracy) for point in points])


def _level(accuracies: pd.Series[Any], axis: Axis) -> list[tuple[float, float]]:
    """Ends of the horizontal line at each known accuracy, a fraction."""
    levels = [round(100 * value, 3) for value in accuracies.dropna()]
    return [(10**end, level) for level in levels for end in (axis.left, axis.right)]


def _line(name: str, role: str, dash: str, ends: list[tuple[float, float]]) -> dict[str, Any]:
    # The front passes through its points; it must not take their hover and their click.
    hover = "skip" if role == "front" else "name+y"
    return {"name": name, "meta": role, "mode": "lines", "line": {"dash": dash}, "hoverinfo": hover} | _xy(ends)


def _xy(points: list[tuple[float, float]]) -> dict[str, Any]:
    return {"x": [point[0] for point in points], "y": [point[1] for point in points]}
