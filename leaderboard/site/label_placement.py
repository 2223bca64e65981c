"""Positions of labels, so that they cover neither each other nor a marker or a line."""

from __future__ import annotations

from collections.abc import Sequence

_CHARACTER, _LINE, _STROKE = 0.015, 0.055, 0.003
_GAP = (0.018, 0.028)
_MARKER = (0.016, 0.024)
_MARKER_WEIGHT = 4  # a marker under a label is lost; a line shows on both sides of it
_LABEL_WEIGHT = 12  # two labels on top of each other cannot be read
_NEAR = (0.04, 0.055)  # a label in this reach of another marker seems to name it
_ANCHORS = {
    "top center": (-0.5, 1.0),
    "bottom center": (-0.5, -1.0),
    "middle right": (0.0, 0.0),
    "middle left": (-1.0, 0.0),
    "top right": (0.0, 1.0),
    "top left": (-1.0, 1.0),
    "bottom right": (0.0, -1.0),
    "bottom left": (-1.0, -1.0),
}
Box = tuple[float, float, float, float]
Segment = tuple[tuple[float, float], tuple[float, float]]


def label_positions(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    segments: Sequence[Segment],
    unnamed: Sequence[tuple[float, float]] = (),
) -> list[str]:
    """Plotly's `textposition` for each point: the first that overlaps least with what is placed already.

    Args:
        points: positions in the plot, both coordinates in 0..1.
        texts: one label a point; its width is estimated from its length.
        segments: horizontal and vertical lines of the plot, by their ends.
        unnamed: points without a label, which no label should cover.
    """
    wide, tall = _MARKER
    taken = [_around(start, end) for start, end in segments]
    taken += [(x - wide, y - tall, x + wide, y + tall) for x, y in [*points, *unnamed] for _ in range(_MARKER_WEIGHT)]
    chosen = []
    for (x, y), text in zip(points, texts, strict=True):
        boxes = {name: _box(x, y, len(text) * _CHARACTER, anchor) for name, anchor in _ANCHORS.items()}
        avoided = [*taken, *(_reach(other) for other in points if other != (x, y))]
        covered = {name: sum(_overlap(box, other) for other in avoided) for name, box in boxes.items()}
        best = min(boxes, key=lambda name: covered[name] + _outside(boxes[name]))
        taken += [boxes[best]] * _LABEL_WEIGHT
        chosen.append(best)
    return chosen


def spread(heights: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """The heights of labels in one column, moved so that they are a step apart; in the order given.

    None is below `low` or above `high` if that leaves room for all; else they begin at `low`.
    """
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    high = max(high, low + step * (len(heights) - 1))
    placed = dict[int, float]()
    free = low
    for n in order:
        placed[n] = max(heights[n], free)
        free = placed[n] + step
    for n in reversed(order):
        placed[n] = min(placed[n], high)
        high = placed[n] - step
    return [placed[n] for n in range(len(heights))]


def _box(x: float, y: float, width: float, anchor: tuple[float, float]) -> Box:
    """Box of a label of this width; left, bottom, right, top."""
    side, height = anchor
    aside, above = _GAP
    left = x + side * width + (1 + 2 * side) * aside  # to the right, centered (no gap) or to the left
    bottom = y - _LINE / 2 + height * (_LINE / 2 + above)
    return left, bottom, left + width, bottom + _LINE


def _around(start: tuple[float, float], end: tuple[float, float]) -> Box:
    """A line as a box as thick as it is drawn."""
    (left, right), (bottom, top) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return left - _STROKE, bottom - _STROKE, right + _STROKE, top + _STROKE


def _reach(point: tuple[float, float]) -> Box:
    (x, y), (across, up) = point, _NEAR
    return x - across, y - up, x + across, y + up


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box) -> float:
    """Area beyond the plot, weighed so that a label is rather covered than cut."""
    inside = _overlap(box, (0.0, 0.0, 1.0, 1.0))
    return 4 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)
