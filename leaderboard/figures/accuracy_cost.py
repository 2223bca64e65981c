"""Accuracy versus cost: the figure of the board's page, drawn for paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaderboard.figures.labels import Label, place_labels
from leaderboard.figures.style import COLORS, GRAY, cut, cut_bars, new_figure, rendered, thin_ticks

_LEAST, _MOST, _STEP = 2.5, 4.9, 0.6  # heights in inches
_FEW, _EACH = 8, 0.1  # inches for each defense more than these
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_SYMBOLS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "cross": "P",
    "star": "*",
    "hexagon": "h",
    "diamond-open": "D",
}


def accuracy_cost(content: dict[str, Any], group: pd.DataFrame, size: str) -> tuple[Figure, list[str]]:
    """The figure of one group of the board, and the defenses whose label found no room.

    It becomes higher until every label has room beside the error bars, or the greatest height is reached; a label may
    stand on an error bar there.

    Args:
        content: from `leaderboard.site.scatter.figure`.
        group: rows of the board with its index.
        size: in `WIDTHS`.
    """
    points = sum(len(trace["x"]) for trace in content["data"] if trace["mode"] != "lines")
    height = min(_LEAST + _EACH * max(0, points - _FEW), _MOST)
    page, unnamed = _drawn(content, group, size, height)
    while unnamed and height < _MOST:
        height = min(height + _STEP, _MOST)
        page, unnamed = _drawn(content, group, size, height)
    return _drawn(content, group, size, height, over_bars=True) if unnamed else (page, unnamed)


def _drawn(
    content: dict[str, Any], group: pd.DataFrame, size: str, height: float, over_bars: bool = False
) -> tuple[Figure, list[str]]:
    page = new_figure(size, height)
    page.set_layout_engine("constrained")
    axes = page.add_subplot()
    x, y = (content["layout"][axis] for axis in ("xaxis", "yaxis"))
    axes.set_xscale("log")
    axes.set_xticks(x["tickvals"], x["ticktext"])
    axes.set_xticks([], minor=True)
    axes.set(xlim=[10**end for end in x["range"]], ylim=y["range"])
    axes.set(xlabel=x["title"]["text"], ylabel=y["title"]["text"])
    lines = [trace for trace in content["data"] if trace["mode"] == "lines"]
    clouds = [trace for trace in content["data"] if trace["mode"] != "lines"]
    for line in lines:
        color = COLORS[0] if line["meta"] == "front" else GRAY
        axes.plot(line["x"], line["y"], color=color, linestyle=_DASHES[line["line"]["dash"]], linewidth=0.8)
    for cloud in clouds:
        _draw_cloud(axes, cloud)
    renderer = rendered(page)
    thin_ticks(axes, renderer)
    levels = [
        Label(None, line["y"][0], line["name"].removeprefix("baseline " * (size == "single")), line=number)
        for number, line in enumerate(lines)
        if line["meta"] != "front"
    ]
    named = [label for cloud in clouds for label in _labels(cloud, group, size)]
    corners = [list(zip(line["x"], line["y"], strict=True)) for line in lines]
    placed = place_labels(axes, [*levels, *named], corners, renderer, over_bars)[len(levels) :]
    return page, [label.text for label, text in zip(named, placed, strict=True) if text is None]


def _draw_cloud(axes: Axes, cloud: dict[str, Any]) -> None:
    widths = np.array(cloud["error_y"]["array"], float)  # None: NaN
    oracle = cloud["meta"] == "oracle"
    color = COLORS[1] if oracle else COLORS[0]
    axes.errorbar(
        cloud["x"],
        cloud["y"],
        yerr=cut_bars(np.array(cloud["y"]), widths),
        fmt=_SYMBOLS[cloud["marker"]["symbol"]],
        label=cloud["name"],
        color=color,
        markerfacecolor="white" if oracle else color,
        markersize=4,
        markeredgewidth=0.8,
        elinewidth=0.8,
        capsize=1.5,
        zorder=3,
    )


def _labels(cloud: dict[str, Any], group: pd.DataFrame, size: str) -> list[Label]:
    widths = [width or 0.0 for width in cloud["error_y"]["array"]]
    names = [cut(group.loc[row, "defense_selection"], size) for row in cloud["customdata"]]
    return [Label(*point) for point in zip(cloud["x"], cloud["y"], names, widths, strict=True)]
