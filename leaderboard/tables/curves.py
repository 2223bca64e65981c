"""Accuracy over one numeric parameter of an attack or a defense, all else equal: found in any set of cells.

A curve needs no declaration: wherever the finished cells of a component differ in one numeric parameter alone and take
at least three values of it, they are its points. `bench sweep` makes such cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench import formats
from bench.select.grammar import cut, quote, split, unquote
from leaderboard.tables.adaptive import in_order, names_adaptive
from leaderboard.tables.columns import CELL_COLUMNS, GROUP, Column, typed
from leaderboard.tables.statistics import half_width_95, mean

LEAST_VALUES = 3

CURVE_COLUMNS = {
    **{name: CELL_COLUMNS[name] for name in GROUP},
    "varied": Column("string", "attack or defense: what has the parameter"),
    "component": Column("string", "its selection, without the parameter"),
    "parameter": Column("string", "its name; in a chain with its part, em.eps; of the attack in base=em, base.eps"),
    "against": Column("string", "the defense, or the attack, that all points of the curve share"),
    "value": Column("float64", "value of the parameter"),
    "clean_test_accuracy": Column(
        "float64", "mean over seeds; empty if the point lacks a seed of the curve", "fraction"
    ),
    "half_width_95": Column("float64", "95 % Student-t half-width of that mean over seeds", "fraction"),
    "seeds": Column("Int64", "seeds of the point"),
    "undefended_accuracy": Column("float64", "mean of the same without defense", "fraction"),
    "clean_baseline_accuracy": Column("float64", "mean of attack none and defense none", "fraction"),
}

CURVE = [*GROUP, "varied", "component", "parameter"]
"""Columns that identify a figure; `against` is a line in it."""

_OTHER = {"attack": "defense", "defense": "attack"}


def curves_frame(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per point, by group, component, parameter, line and value; columns as in `CURVE_COLUMNS`.

    A line has at least `LEAST_VALUES` points with an accuracy. A figure's points are compared over the same seeds: all
    that its cells have; a point that lacks one of them has no accuracy. Attack `none` and defense `none` have no
    parameters; they are lines in the figures of the other kind. Adaptive attacks come last, as figures and as lines.

    Args:
        cells: at most one for the same coordinates (`current_cells`).
    """
    done = cells[cells["status"] == "done"]
    rows = [
        row
        for place, group in done.groupby(GROUP, sort=True)
        for varied in _OTHER
        for figure in figures_of(group, varied)
        for row in _points(group, varied, *figure, dict(zip(GROUP, place, strict=True)))
    ]
    return typed(rows, CURVE_COLUMNS)


def figures_of(group: pd.DataFrame, varied: str) -> Iterator[tuple[str, dict[float, str]]]:
    """Each parameter with the selection that has each of its values, all other parameters being the same.

    There are at least `LEAST_VALUES` of them.

    Args:
        group: cells that agree in `GROUP`.
        varied: `attack` or `defense`.
    """
    texts = group.groupby(f"{varied}_selection", sort=True)[[varied, f"{varied}_parameters"]].first()
    found: dict[tuple[str, str, str], dict[float, str]] = {}
    for selection, name, written in texts.itertuples(name=None):
        parameters = json.loads(written)
        for parameter, value in parameters.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            rest = json.dumps(parameters | {parameter: None}, sort_keys=True)
            found.setdefault((name, parameter, rest), {}).setdefault(float(value), selection)
    in_turn = sorted(found.items(), key=lambda item: (names_adaptive(item[0][0]), item))
    for (_, parameter, _), selections in in_turn:
        if len(selections) >= LEAST_VALUES:
            yield parameter, dict(sorted(selections.items()))


def _points(
    group: pd.DataFrame, varied: str, parameter: str, selections: dict[float, str], place: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    own, other = f"{varied}_selection", f"{_OTHER[varied]}_selection"
    cells = group[group[own].isin(selections.values())]
    seeds = sorted(cells["seed"].unique())
    component = without_parameter(min(selections.values(), key=lambda text: (len(text), text)), parameter)
    clean = _accuracy(group, "none", "none", seeds)
    for against in in_order(cells[other]):
        line = cells[cells[other] == against]
        table = line.pivot(index=own, columns="seed", values="clean_test_accuracy").reindex(columns=seeds)
        points = {value: table.loc[text] for value, text in selections.items() if text in table.index}
        if sum(mean(point) is not None for point in points.values()) < LEAST_VALUES:
            continue
        undefended = _accuracy(group, against, "none", seeds) if varied == "defense" else None
        for value, point in points.items():
            if varied == "attack":
                undefended = _accuracy(group, selections[value], "none", seeds)
            yield place | {
                "varied": varied,
                "component": component,
                "parameter": parameter,
                "against": against,
                "value": value,
                "clean_test_accuracy": mean(point),
                "half_width_95": half_width_95(point),
                "seeds": int(point.notna().sum()),
                "undefended_accuracy": undefended,
                "clean_baseline_accuracy": clean,
            }


def _accuracy(group: pd.DataFrame, attack: str, defense: str, seeds: list[int]) -> float | None:
    """Mean over exactly these seeds, or None if one is missing."""
    found = group[(group["attack_selection"] == attack) & (group["defense_selection"] == defense)]
    return mean(found.set_index("seed")["clean_test_accuracy"].reindex(seeds))


def without_parameter(selection: str, parameter: str) -> str:
    """A selection without the value of one parameter: `jpeg:quality=30` gives `jpeg`.

    A parameter of a chain is named with its part, `em.eps`; one of a component that a parameter names, with that
    parameter: `base.eps` of `adaptive:base="em:eps=4/255"`.
    """
    owner, _, own = parameter.partition(".")
    parts = split(selection)
    if len(parts) > 1:
        return "+".join(without_parameter(part, own) if cut(part, ":")[0] == owner else part for part in parts)
    kept = []
    for segment in cut(selection, ":"):
        key, _, value = segment.partition("=")
        if own and key == owner:
            kept.append(f"{key}={quote(without_parameter(unquote(value), own))}")
        elif key != parameter or not value:
            kept.append(segment)
    return ":".join(kept)


def point_text(points: pd.DataFrame, at: Any) -> str:
    """The accuracy of a point of `curves_frame` in percent, with its interval; a dash if there is no such point.

    Args:
        points: indexed by what identifies a point.
        at: its place in the index.
    """
    if at not in points.index:
        return formats.DASH
    return formats.plus_minus(*points.loc[at, ["clean_test_accuracy", "half_width_95"]])
