"""Recipes of published values: `recipes.csv` states them for each source, data set and method.

The rows of `reference` hold the recipes of a method's own authors. A source's row changes what it did otherwise, as far
as the source or its code prints it. `a|b` are two values that both fit.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

REFERENCE = "reference"
_WORDS = {None: "none", True: "true", False: "false"}


@dataclass(frozen=True)
class Recipe:
    """The recipe of one published row for one component.

    Attributes:
        stated: the values that fit, as text, by parameter; what is not in it must have its default.
        known: whether the table states anything of this method; nothing can be compared with an unknown recipe.
        other: why the source's method is another one than the one of the same name here, or "".
        remark: what the source does not print, and what is assumed instead.
    """

    stated: Mapping[str, tuple[str, ...]]
    known: bool = True
    other: str = ""
    remark: str = ""

    def text(self, name: str) -> str:
        """As a selection of this name; `a|b` where both fit."""
        return ":".join([name, *(f"{parameter}={'|'.join(values)}" for parameter, values in self.stated.items())])


@cache
def recipe(source: str, kind: str, selection: str, dataset: str) -> Recipe:
    """Of a published row, from the general to the particular: the later statement counts.

    Args:
        source: its key.
        kind: attack, defense or victim.
        selection: the method with the parameters that the row itself states: `ops:sparsity=2`.
        dataset: registered name.
    """
    name, *own = selection.split(":")
    if name == "none":
        return Recipe({})
    stated: dict[str, tuple[str, ...]] = {}
    other, remarks, known = "", [], False
    for row in _rows(source, kind, name, dataset):
        known = known or bool(row["recipe"] or row["other"])
        stated |= _stated(row["recipe"].split(":"))
        other = row["other"] or other
        remarks += [row["remark"]] if row["remark"] else []
    return Recipe(stated | _stated(own), known, other, "; ".join(dict.fromkeys(remarks)))


def alternatives(*values: str) -> tuple[str, ...]:
    """Values that all fit: each once, words first as they stand, then numbers by size."""
    numbers = {value: _number(value) for value in values}
    words = [value for value, number in numbers.items() if number is None]
    return (*words, *sorted((value for value in numbers if value not in words), key=lambda value: numbers[value] or 0))


def departures(found: Recipe, name: str, parameters: Mapping[str, Any], selection: str) -> Iterator[str]:
    """Differences of a measured component from the recipe: a stated parameter with another value, or one set beyond it.

    Args:
        found: the recipe.
        name: of the component, for the text.
        parameters: all of the measured component's.
        selection: its text, which tells what is not at its default.
    """
    for parameter, values in found.stated.items():
        if parameter not in parameters:
            yield f"{name}: {parameter} is not recorded, published {' or '.join(values)}"
        elif not any(_same(parameters[parameter], value) for value in values):
            yield f"{name}: {parameter} {_written(parameters[parameter])}, published {' or '.join(map(_short, values))}"
    for parameter, value in parameters.items():
        if parameter not in found.stated and f":{parameter}=" in selection:
            yield f"{name}: {parameter} {_written(value)} is not in the published recipe"


def contradicts(selection: str, parameters: Mapping[str, Any]) -> bool:
    """True if a parameter that a published row itself states (`clean-mix:images=4000`) has another value here."""
    own = _stated(selection.split(":")[1:])
    return any(
        parameter in parameters and not any(_same(parameters[parameter], value) for value in values)
        for parameter, values in own.items()
    )


@cache
def recipe_rows() -> tuple[dict[str, str], ...]:
    """All rows of `recipes.csv`, in its order."""
    with (files("leaderboard.published") / "recipes.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _rows(source: str, kind: str, name: str, dataset: str) -> list[dict[str, str]]:
    """Recipes that apply, the particular last: the source's own, then of one method, then of one data set."""
    chosen = [
        row
        for row in recipe_rows()
        if row["source"] in (REFERENCE, source)
        and row["kind"] == kind
        and row["method"] in ("", name)
        and row["dataset"] in ("", dataset)
    ]
    return sorted(chosen, key=lambda row: (row["source"] != REFERENCE, row["method"] != "", row["dataset"] != ""))


def _stated(segments: list[str]) -> dict[str, tuple[str, ...]]:
    pairs = (segment.partition("=") for segment in segments if segment)
    return {parameter: alternatives(*values.split("|")) for parameter, _, values in pairs}


def _same(measured: Any, stated: str) -> bool:
    """True if a recorded value is the stated one: `8/255` is 0.03137, `none` is null, and L2 1.304 is 1.3041."""
    if measured is None or isinstance(measured, (bool, str)):
        return stated == (measured if isinstance(measured, str) else _WORDS[measured])
    number = _number(stated)
    return number is not None and math.isclose(measured, number, rel_tol=1e-3)


def _number(text: str) -> float | None:
    numerator, _, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator or 1)
    except ValueError:
        return None


def _written(value: Any) -> str:
    """As in a selection: `none`, `true`, and `8/255` where that is shorter."""
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    levels = f"{value * 255:.6g}" if isinstance(value, float) else ""
    if levels and float(levels) / 255 == value and len(levels) + 4 < len(str(value)):
        return f"{levels}/255"
    return _short(str(value))


def _short(text: str) -> str:
    """A digest by its first digits; "" as such."""
    return f"{text[:19]}…" if text.startswith("sha256-") else text or '""'
