"""The look of all figures, and a figure as the bytes of a file. Nothing of a user's `matplotlibrc` counts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

WIDTHS = {"single": 3.3, "double": 6.9}
"""Width in inches of a figure in one column of a paper, and across two."""

FORMATS = ("pdf", "svg", "png")
GRAY = "#5a5a5a"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colors, told apart by all common kinds of color vision; without yellow, which is pale on paper."""

_NAME_LENGTH = {"single": 22, "double": 40}
_FONT = "DejaVu Sans"  # comes with matplotlib: the same on every machine
_POINT = 8
_DPI = 300
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT, "sans-serif"],
    "font.size": _POINT,
    **{f"{part}.labelsize": _POINT for part in ("axes", "xtick", "ytick")},
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.hinting": "none",  # sizes in a PNG are those in a PDF
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "purify-bench",  # the same names inside the file every time
    "pdf.fonttype": 42,  # fonts whole and embedded, as publishers ask
    "figure.dpi": _DPI,
    "savefig.dpi": _DPI,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "hatch.linewidth": 0.4,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draws and saves with this style alone; the settings before are restored."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(size: str, height: float) -> Figure:
    """An empty figure of a size in `WIDTHS`, `height` inches high."""
    figure = Figure(figsize=(WIDTHS[size], height))
    FigureCanvasAgg(figure)
    return figure


def rendered(figure: Figure) -> RendererBase:
    """The renderer that measures the texts of the figure, after its layout has been made and fixed."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return canvas.get_renderer()


def saved(figure: Figure, kind: str, title: str) -> bytes:
    """The figure as a file of a kind in `FORMATS`; the same figure gives the same bytes, for no date is written."""
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"Title": title, "CreationDate": None},
        "svg": {"Title": title, "Date": None},
        "png": {"Title": title},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata[kind])
    return buffer.getvalue()


def cut(name: str, size: str) -> str:
    """A name as it fits a figure of this size; the caption has it whole.

    A character that the font lacks is written as its code point, `U+4E2D`.
    """
    most, font = _NAME_LENGTH[size], get_font(findfont(_FONT))
    name = "".join(letter if font.get_char_index(ord(letter)) else f"U+{ord(letter):04X}" for letter in name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def cut_bars(values: NDArray[np.float64], half_widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, N) lengths of error bars below and above values in percent, none beyond 0 and 100; NaN: no bar."""
    return np.stack([np.minimum(half_widths, values), np.minimum(half_widths, 100 - values)])


def thin_ticks(axes: Axes, renderer: RendererBase) -> None:
    """Empties the labels of the x axis that would touch the label before them."""
    ticks, free = list(axes.get_xticks()), -float("inf")
    texts = [label.get_text() for label in axes.get_xticklabels()]
    extents = [label.get_window_extent(renderer) for label in axes.get_xticklabels()]
    for number, extent in sorted(enumerate(extents), key=lambda item: item[1].x0):
        if extent.x0 < free:
            texts[number] = ""
        else:
            free = extent.x1 + _POINT * _DPI / 72 / 2
    axes.set_xticks(ticks, texts)
