"""The heat map of accuracy: a row for each defense, a column for clean data and for each attack.

Where numbers have room only the other way round, an attack is a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from bench import formats
from leaderboard.figures.style import WIDTHS, cut, new_figure, rendered
from leaderboard.tables.adaptive import names_adaptive
from leaderboard.tables.columns import accuracy_columns

CLEAN = "clean data"
_ROW = 12.5  # points
_GAP = 4.0
_BAR, _BELOW = 5.0, 26.0  # height of the color bar; room for it and its labels
_MARK = 11.0  # room for the line and the word below the columns of adaptive attacks
_PRINTED = {"{:.1f}": "99.9", "{:.0f}": "99", "": ""}
"""How an accuracy is printed in its cell: the first whose example fits."""


def heat_map(group: pd.DataFrame, size: str) -> Figure:
    """The heat map of one group of the board, of which `table_of` gives at least one column.

    The grid is `figure.axes[0]`: the first row of its array is the lowest one. Accuracies are percent. A cell without a
    value is gray.
    """
    values, columns, rows = table_of(group)
    attacks = columns
    if swapped := attacks_are_rows(group, size):
        values, columns, rows = values.T, rows, columns
    names, heads = [cut(name, size) for name in rows], [cut(name, size) for name in columns]
    left, top, width, turned = _frame(names, heads, size)
    adaptive = sum(map(names_adaptive, attacks))
    bottom, tall = _BELOW + _MARK * (adaptive > 0 and not swapped), _ROW * len(names)
    page = new_figure(size, (bottom + tall + top) / 72)
    across = WIDTHS[size] * 72
    high = bottom + tall + top
    axes = page.add_axes((left / across, bottom / high, width / across, tall / high))
    grid = axes.pcolormesh(values[::-1], cmap="cividis", vmin=0, vmax=100, edgecolors="white", linewidth=0.6)
    axes.set_facecolor("#e8e8e8")
    axes.set_yticks(np.arange(len(names)) + 0.5, names[::-1])
    axes.set_xticks(np.arange(len(heads)) + 0.5, heads, rotation=90 if turned else 0)
    axes.tick_params(length=0, pad=2, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    _print_values(axes, grid, values[::-1], _printed(width / len(heads), size))
    if adaptive and swapped:
        _mark_last_rows(axes, len(columns), adaptive)
    elif adaptive:
        _mark_last(axes, len(columns), adaptive)
    bar_width = min(width, 120.0)
    bar = page.add_axes((left / across, (_BELOW - _GAP - _BAR) / high, bar_width / across, _BAR / high))
    page.colorbar(grid, cax=bar, orientation="horizontal", ticks=[0, 50, 100])
    bar.set_xticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    bar.tick_params(length=2, pad=1)
    return page


def has_numbers(group: pd.DataFrame, size: str) -> bool:
    """True if every cell has room for its accuracy in this size; else colors alone stand."""
    _, columns, rows = table_of(group)
    return _has_room(rows, columns, size) or _has_room(columns, rows, size)


def attacks_are_rows(group: pd.DataFrame, size: str) -> bool:
    """True if only so every cell has room for its accuracy in this size."""
    _, columns, rows = table_of(group)
    return not _has_room(rows, columns, size) and _has_room(columns, rows, size)


def _has_room(rows: Sequence[str], columns: Sequence[str], size: str) -> bool:
    _, _, width, _ = _frame([cut(name, size) for name in rows], [cut(name, size) for name in columns], size)
    return bool(_printed(width / len(columns), size))


def _mark_last(axes: Axes, columns: int, adaptive: int) -> None:
    """A line and the word `adaptive` below the last columns."""
    first, last = columns - adaptive + 0.05, columns - 0.05
    below = offset_copy(axes.transData, axes.get_figure(), y=-2.0, units="points")
    axes.add_artist(Line2D([first, last], [0, 0], color="#404040", linewidth=0.8, clip_on=False, transform=below))
    axes.annotate("adaptive", (last, 0), xytext=(0, -4.0), textcoords="offset points", ha="right", va="top")


def _mark_last_rows(axes: Axes, columns: int, adaptive: int) -> None:
    """A line right of the last rows; their names say `adaptive`."""
    beside = offset_copy(axes.transData, axes.get_figure(), x=2.0, units="points")
    ends = [0.05, adaptive - 0.05]
    axes.add_artist(Line2D([columns] * 2, ends, color="#404040", linewidth=0.8, clip_on=False, transform=beside))


def table_of(group: pd.DataFrame) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Accuracies in percent (NaN: none), the columns with a value by name, and the defenses in the board's order."""
    found = {CLEAN: "clean_accuracy"} | accuracy_columns(group)
    kept = {name: column for name, column in found.items() if group[column].notna().any()}
    return 100 * group[list(kept.values())].to_numpy(float), list(kept), list(group["defense_selection"])


def _frame(names: Sequence[str], heads: Sequence[str], size: str) -> tuple[float, float, float, bool]:
    """Points left of the grid and above it, its width, and whether the heads are turned."""
    across = WIDTHS[size] * 72
    left = max(_widths(names, size)) + _GAP
    widest = max(_widths(heads, size))
    width = min(across - left - _GAP, 42.0 * len(heads))
    turned = widest + 2 * _GAP > width / len(heads)
    return left, (widest if turned else 10.0) + _GAP, width, turned


def _printed(column: float, size: str) -> str:
    fitting = (form for form, example in _PRINTED.items() if max(_widths([example], size)) < column - 2)
    return next(fitting, "")


def _print_values(axes: Axes, grid: QuadMesh, values: NDArray[np.float64], form: str) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            text, color = formats.DASH, "#404040"
        else:
            text, color = form.format(value), _ink(grid.to_rgba(np.array(value)))
        axes.text(column + 0.5, row + 0.47, text, ha="center", va="center", color=color)


def _ink(color: NDArray[np.float64]) -> str:
    """Black or white, whichever has more contrast (WCAG) on an sRGB color, components in 0..1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def _widths(texts: Sequence[str], size: str) -> list[float]:
    """Width of each text in points."""
    page = new_figure(size, 1.0)
    renderer = rendered(page)
    return [page.text(0, 0, text).get_window_extent(renderer).width * 72 / page.dpi for text in texts]
