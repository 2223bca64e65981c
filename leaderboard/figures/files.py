"""All figures of a set of results, as files: a folder for each data set, preset, victim and precision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from bench import formats
from bench.errors import UserError
from leaderboard.figures.accuracy_cost import accuracy_cost
from leaderboard.figures.captions import curve_caption, heat_caption, scatter_caption
from leaderboard.figures.curves import curves
from leaderboard.figures.heat_map import heat_map, table_of
from leaderboard.figures.style import FORMATS, WIDTHS, saved, styled
from leaderboard.site.scatter import AXES, CostAxis, figure
from leaderboard.tables.columns import GROUP
from leaderboard.tables.curves import CURVE, curves_frame
from leaderboard.tables.datasets import data_names
from leaderboard.tables.table import Frames, current_cells

COSTS = {axis.name: axis for axis in AXES}
_LONGEST = 80


@dataclass
class Drawn:
    """Files by relative path, the figures (their paths without size and format), and why one is absent."""

    files: dict[str, bytes] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def add(self, path: str, pages: Mapping[str, Figure], caption: str) -> None:
        """Adds a figure, by size, in all formats."""
        self.figures.append(path)
        for size, page in pages.items():
            self.files |= {f"{path}-{size}.{kind}": saved(page, kind, path) for kind in FORMATS}
        self.files[f"{path}.txt"] = caption.encode()


def draw_figures(frames: Frames, cost: CostAxis = AXES[0]) -> Drawn:
    """Draws everything that these results have; the same results give the same bytes.

    Raises:
        UserError: if there is nothing to draw.
    """
    current, board = current_cells(frames.cells), frames.board.reset_index(drop=True)
    current, board = (frame.assign(dataset=data_names(frame)) for frame in (current, board))
    points = curves_frame(current)
    drawn, folders = Drawn(), set[str]()
    with styled():
        for place, group in board.groupby(GROUP, sort=False):
            folder = _folder(group.iloc[0], folders)
            cells, own = (of[(of[GROUP] == list(place)).all(axis=1)] for of in (current, points))
            _draw_group(drawn, folder, group, cells, own, cost)
    if not drawn.figures:
        done = int((current["status"] == "done").sum())
        raise UserError(
            f"nothing to draw: {done} of {formats.counted(len(current), 'cell')} finished, and no defense has all its "
            "seeds against any attack; run the matrix again, or see with `bench publish` what is missing"
        )
    return drawn


def _draw_group(
    drawn: Drawn, folder: str, group: pd.DataFrame, cells: pd.DataFrame, points: pd.DataFrame, cost: CostAxis
) -> None:
    content = figure(group, cost)
    if content is None:
        drawn.absent.append(f"{folder}: no accuracy-cost, for no defense has all its cells and a cost in {cost.label}")
    else:
        found = {size: accuracy_cost(content, group, size) for size in WIDTHS}
        unnamed = [name for _, names in found.values() for name in names]
        pages = {size: page for size, (page, _) in found.items()}
        drawn.add(f"{folder}/accuracy-cost", pages, scatter_caption(group, cells, cost, unnamed))
    if columns := table_of(group)[1]:
        pages = {size: heat_map(group, size) for size in WIDTHS}
        drawn.add(f"{folder}/heat-map", pages, heat_caption(group, cells, columns))
    else:
        drawn.absent.append(f"{folder}: no heat-map, for no defense has all its seeds in any column")
    taken = set[str]()
    for _, line in points.groupby(CURVE, sort=False):
        name = _free(_plain(f"curve-{line['component'].iloc[0]}-{line['parameter'].iloc[0]}"), taken)
        drawn.add(f"{folder}/{name}", {size: curves(line, size) for size in WIDTHS}, curve_caption(line, cells))


def _folder(row: pd.Series[str], taken: set[str]) -> str:
    words = (row["dataset"], row["preset"], row["victim_selection"], row["precision"])
    return _free(_plain("-".join(filter(None, words))), taken)


def _plain(name: str) -> str:
    """A name of letters, digits, dashes, dots and underscores, for a file."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:_LONGEST] or "figure"


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken; it is taken then."""
    number, free = 1, name
    while free in taken:
        number, free = number + 1, f"{name}-{number + 1}"
    taken.add(free)
    return free
