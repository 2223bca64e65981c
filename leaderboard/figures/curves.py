"""Curves of accuracy over a parameter, such as poison rate or JPEG quality, with the name of each line at its end."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from bench import formats
from leaderboard.figures.style import COLORS, GRAY, cut, cut_bars, new_figure, rendered, thin_ticks
from leaderboard.site.curves import is_logarithmic
from leaderboard.site.label_placement import spread

_MARKERS = "os^DvPX"
_DASHES = ("-", "--", "-.", ":")
_LINE = 10.0  # points: height of a label
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3, "relpos": (0, 0.5)}
_AWAY = 10.0  # points from the plot to its labels
_HEIGHT, _AROUND = 2.2, 0.7  # inches: least height; what the axis below takes of it
_BEYOND = 2.0  # percent of the axis below 0 and above 100, so that markers are whole
_OF_NONE = {"defense": "clean data", "attack": "no defense"}
"""The line `none` in the curves over a parameter of a defense, and of an attack."""


def curves(points: pd.DataFrame, size: str) -> Figure:
    """One figure of `curves_frame`: the rows that agree in `CURVE`. Accuracies are percent."""
    first = points.iloc[0]
    names = list(dict.fromkeys(points["against"]))
    page = new_figure(size, max(_HEIGHT, _AROUND + (len(names) + 1) * _LINE / 72))
    page.set_layout_engine("constrained")
    axes = page.add_subplot()
    values = sorted(points["value"].unique())
    if is_logarithmic(values):
        axes.set_xscale("log")
    axes.set_xticks(values, [formats.number(value) for value in values])
    axes.set_xticks([], minor=True)
    parameter = first["parameter"].replace("_", " ")
    axes.set(xlabel=f"{parameter} of {cut(first['component'], size)}", ylabel="clean test accuracy (%)")
    ends: list[tuple[float, float, str, str]] = []
    none = _OF_NONE[first["varied"]]
    for number, name in enumerate(names):
        line = points[(points["against"] == name) & points["clean_test_accuracy"].notna()].sort_values("value")
        color = COLORS[number % len(COLORS)]
        ends.append(_draw_line(axes, line, number, color))
        undefended = line["undefended_accuracy"].iloc[0]
        if first["varied"] == "defense" and not formats.is_missing(undefended):
            axes.axhline(100 * undefended, color=color, linestyle=":", linewidth=0.7, zorder=1)
    clean = first["clean_baseline_accuracy"]
    if not formats.is_missing(clean):
        axes.axhline(100 * clean, color=GRAY, linestyle="--", linewidth=0.7, zorder=1)
        ends.append((max(values), 100 * clean, "clean baseline", GRAY))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -_BEYOND), min(high, 100 + _BEYOND))
    _label_ends(page, axes, [(x, y, cut(none if n == "none" else n, size), c) for x, y, n, c in ends])
    return page


def _draw_line(axes: Axes, line: pd.DataFrame, number: int, color: str) -> tuple[float, float, str, str]:
    """Draws a line with its intervals; returns its last point, its name and its color."""
    again = number // len(COLORS)
    accuracies = 100 * line["clean_test_accuracy"].to_numpy(float)
    axes.errorbar(
        line["value"],
        accuracies,
        yerr=cut_bars(accuracies, 100 * line["half_width_95"].to_numpy(float)),
        label=line["against"].iloc[0],
        color=color,
        marker=_MARKERS[number % len(_MARKERS)],
        linestyle=_DASHES[again % len(_DASHES)],
        markersize=3,
        elinewidth=0.7,
        capsize=1.5,
        zorder=3,
    )
    last = line.iloc[-1]
    return float(last["value"]), float(100 * last["clean_test_accuracy"]), str(last["against"]), color


def _label_ends(page: Figure, axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Names to the right of the plot, moved apart, each with a line of its color to the end of its curve."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for _, y, name, _ in ends:  # the layout makes room for them
        axes.annotate(name, (1, y), xycoords=beside, xytext=(_AWAY, 0), textcoords="offset points", va="center")
    renderer = rendered(page)
    for text in list(axes.texts):
        text.remove()
    thin_ticks(axes, renderer)
    corner = axes.get_window_extent(renderer)
    own = [(axes.transData.transform((x, y))[1] - corner.y0) / corner.height for x, y, _, _ in ends]
    point = page.dpi / 72 / corner.height  # a typographic point, as a share of the plot's height
    heights = spread(own, _LINE * point, 0.0, 1 - _LINE / 3 * point)
    for (x, y, name, color), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1 + _AWAY * page.dpi / 72 / corner.width, height),
            textcoords="axes fraction",
            va="center",
            arrowprops={**_LEADER, "color": color},
            annotation_clip=False,
        )
