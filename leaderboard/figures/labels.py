"""Labels of points and of horizontal lines, measured as printed: none covers another, a point or an error bar."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation
from numpy.typing import NDArray

from leaderboard.figures.boxes import Floats, cross, enter, padded, pieces_of, touch

_DISTANCES = (5.0, 9.0, 14.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0, 100.0)  # from a marker's center to its label
_ANGLES = (0, 90, 270, 180, 45, 315, 135, 225, *range(15, 360, 30), *range(30, 360, 60))
_LEADER = 8.0  # a label farther away has a line to its marker
_MARKER, _AIR, _ABOVE, _STEP = 3.0, 1.0, 2.0, 6.0
_COVERED = 1.5  # the distance that a covered piece of a line is worth
_CROSSED = 20.0  # the same of an error bar
_TURNS = 12  # for each label, before it is given up


@dataclass(frozen=True)
class Label:
    """A text for a point of the plot, in data coordinates; `half_width` is half of the point's error bar.

    The label of a horizontal line has no `x`, and the number of its line. It stands where nothing covers that line, or
    points there.
    """

    x: float | None
    y: float
    text: str
    half_width: float = 0.0
    line: int = -1


@dataclass(frozen=True)
class _Places:
    """Places for one label, the best first; lengths are typographic points from the plot's corner.

    Attributes:
        at: (P, 2) near side, middle or corner of the label.
        side: (P, 2) where the label is, seen from there: -1, 0 or 1 across, and upward.
        boxes: (P, 4) left, low, right, high.
        leaders: (P, 2, 2) ends of the line to the label's point; NaN: none.
    """

    at: Floats
    side: Floats
    boxes: Floats
    leaders: Floats

    def __getitem__(self, kept: NDArray[np.intp]) -> _Places:
        return _Places(self.at[kept], self.side[kept], self.boxes[kept], self.leaders[kept])

    def joined(self, more: _Places) -> _Places:
        """These places, and more."""
        return _Places(*(np.concatenate(both) for both in zip(vars(self).values(), vars(more).values(), strict=True)))


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    lines: Sequence[Sequence[tuple[float, float]]],
    renderer: RendererBase,
    over_bars: bool = False,
) -> list[Annotation | None]:
    """Draws each label at a free place near its point, a far one with a thin line to it.

    Args:
        axes: with its final size and limits.
        labels: the first are served first.
        lines: of the plot, by the corners in data coordinates; a label avoids them where it can.
        renderer: from `rendered`.
        over_bars: allows places on error bars, where a label finds no other.

    Returns:
        What was drawn, or None for a label without a free place.
    """
    scale = 72 / axes.figure.dpi
    corner = axes.get_window_extent(renderer)
    inside = np.array([corner.width, corner.height]) * scale

    def spot(x: float | None, y: float) -> Floats:
        at = axes.transData.transform((axes.get_xlim()[0] if x is None else x, y))
        return (at - (corner.x0, corner.y0)) * scale

    spots = [spot(label.x, label.y) for label in labels]
    sizes = [_size(axes, label.text, renderer) * scale for label in labels]
    bars = [[spot(label.x, label.y + sign * label.half_width) for sign in (-1, 1)] for label in labels]
    drawn = [pieces_of([[spot(*each) for each in line]]) for line in lines]
    soft, crossed = np.concatenate(drawn), pieces_of(bars)
    markers = [None if label.x is None else padded(at, _MARKER) for label, at in zip(labels, spots, strict=True)]
    places = []
    for n, label in enumerate(labels):
        others = [marker for m, marker in enumerate(markers) if m != n and marker is not None]
        if label.x is None:
            covering = [*(pieces for m, pieces in enumerate(drawn) if m != label.line), np.reshape(others, (-1, 4))]
            found, cost = _along(spots[n], sizes[n], inside, np.concatenate(covering))
        else:
            found, cost = _around(spots[n], sizes[n], _MARKER + 1)
        cost += _COVERED * touch(found.boxes, soft).sum(axis=1)
        free = ((found.boxes[:, :2] >= 0) & (found.boxes[:, 2:] <= inside)).all(axis=1)
        for other in others:
            free &= ~_meets(found, other, None)
        on_bars = touch(found.boxes, crossed).sum(axis=1)
        cost += _CROSSED * on_bars
        free &= over_bars | (on_bars == 0)
        order = np.argsort(cost, kind="stable")
        places.append(found[order[free[order]]])
    chosen = _chosen(places)
    return [
        None if n not in chosen else _drawn(axes, label.text, places[n], chosen[n], inside)
        for n, label in enumerate(labels)
    ]


def _chosen(places: Sequence[_Places]) -> dict[int, int]:
    """The place of each label that has one. A label without a free place takes that of labels less often moved."""
    waiting, chosen, moved = deque(range(len(places))), dict[int, int](), Counter[int]()
    for _ in range(_TURNS * len(places)):
        if not waiting:
            break
        n = waiting.popleft()
        if not len(places[n].boxes):
            continue
        met = {m: _meets(places[n], places[m].boxes[p], places[m].leaders[p]) for m, p in chosen.items()}
        weight = sum((moved[m] + 1) * hit for m, hit in met.items()) + np.zeros(len(places[n].boxes))
        place = int(np.argmin(weight))
        for m in [m for m, hit in met.items() if hit[place]]:
            del chosen[m]
            moved[m] += 1
            waiting.append(m)
        chosen[n] = place
    return chosen


def _around(spot: Floats, size: Floats, gap: float) -> tuple[_Places, Floats]:
    """Places around a point, and what they cost; lines to it end at this distance from it."""
    angles = np.radians(np.array(_ANGLES))
    toward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    toward, distance = np.tile(toward, (len(_DISTANCES), 1)), np.repeat(_DISTANCES, len(_ANGLES))[:, None]
    at, start = spot + toward * distance, spot + toward * gap
    leaders = np.where(distance[:, None] > _LEADER, np.stack([start, at - toward], axis=1), np.nan)
    side = np.where(np.abs(toward) < (0.2, 0.45), 0, np.sign(toward))
    turns = np.tile(np.arange(len(_ANGLES)), len(_DISTANCES))
    return _Places(at, side, _boxes(at, side, size), leaders), distance[:, 0] + 0.1 * turns


def _along(spot: Floats, size: Floats, inside: Floats, covering: Floats) -> tuple[_Places, Floats]:
    """Places for the label of a horizontal line, and what they cost.

    Above and below the line, those at its right end and at visible pieces least; and around the longest visible piece.
    """
    steps = np.arange(max(1, int((inside[0] - size[0]) / _STEP)))
    up = np.tile([1.0, -1.0], len(steps))
    at = np.stack([inside[0] - _AIR - _STEP * np.repeat(steps, 2), spot[1] + _ABOVE * up], axis=1)
    side = np.stack([-np.ones_like(up), up], axis=1)
    places = _Places(at, side, _boxes(at, side, size), np.full((len(at), 2, 2), np.nan))
    pieces = pieces_of([[np.array([0.0, spot[1]]), np.array([inside[0], spot[1]])]])
    hidden = touch(pieces, covering).any(axis=1)
    level = np.full(len(at), spot[1])
    spans = np.column_stack([places.boxes[:, 0], level, places.boxes[:, 2], level])
    cost = 0.2 * np.repeat(steps, 2) + _COVERED * touch(spans, pieces[hidden]).sum(axis=1)
    if hidden.all():
        return places, cost
    runs = np.split(pieces, np.flatnonzero(np.diff(hidden)) + 1)
    visible = max(runs[int(hidden[0]) :: 2], key=len)
    around, more = _around((visible[0, :2] + visible[-1, 2:]) / 2, size, 0.0)
    return places.joined(around), np.concatenate([cost, more])


def _boxes(at: Floats, side: Floats, size: Floats) -> Floats:
    corner, air = at + (side - 1) / 2 * size, np.array([_AIR, _AIR / 2])
    return np.concatenate([corner - air, corner + size + air], axis=1)


def _meets(places: _Places, box: Floats, leader: Floats | None) -> NDArray[np.bool_]:
    """(P,) whether a place meets a box and the line that belongs to it."""
    met = touch(places.boxes, box[None])[:, 0] | enter(places.leaders, box)
    if leader is None or np.isnan(leader).any():
        return met
    return met | enter(leader[None], places.boxes) | cross(places.leaders, leader)


def _size(axes: Axes, text: str, renderer: RendererBase) -> Floats:
    drawn = axes.text(0, 0, text)
    extent = drawn.get_window_extent(renderer)
    drawn.remove()
    return np.array([extent.width, extent.height])


def _drawn(axes: Axes, text: str, places: _Places, place: int, inside: Floats) -> Annotation:
    across, up = places.side[place].astype(int)
    at = places.at[place] / inside
    far = not np.isnan(places.leaders[place]).any()
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#808080", "shrinkA": 0, "shrinkB": 0}
    return axes.annotate(
        text,
        tuple(places.leaders[place, 0] / inside if far else at),
        xycoords="axes fraction",
        xytext=tuple(at),
        textcoords="axes fraction",
        ha=("right", "center", "left")[across + 1],
        va=("top", "center", "bottom")[up + 1],
        arrowprops={**line, "relpos": ((1 - across) / 2, (1 - up) / 2)} if far else None,
        annotation_clip=False,
    )
