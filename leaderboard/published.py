"""Values printed in papers, beside measured ones and never mixed with them: same experiment? Do they agree?

`published.csv` holds what was read in the sources; PUBLISHED.md says where, and which rows were left out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from leaderboard.sources import recipe_difference

TOLERANCE = 0.03
"""Fraction. Papers that print the same cell of CIFAR-10 with ResNet-18 differ by 2.5 points in the median."""

REFERENCE_PRESETS = frozenset({"paper"})
REPRODUCED, DIFFERS, NOT_COMPARABLE = "reproduced", "differs", "not comparable"


@dataclass(frozen=True)
class Published:
    """One printed value.

    Attributes:
        source: key of a section of PUBLISHED.md.
        year: of the publication.
        dataset, attack, defense, victim: registered names here.
        train_images: how many the source trained on.
        budget: as `Budget` prints it; norm alone if the radius is not printed, "" if nothing is.
        accuracy, std: fractions; std None where none is printed.
        note: where in the source, and doubts.
    """

    source: str
    year: int
    dataset: str
    train_images: int
    attack: str
    budget: str
    defense: str
    victim: str
    accuracy: float
    std: float | None
    note: str


@dataclass(frozen=True)
class Measured:
    """What this harness has for one data set, preset, victim, attack and defense; accuracy is the mean over seeds."""

    dataset: str
    train_images: int
    preset: str
    attack: str
    attack_selection: str
    budget: str | None
    defense: str
    defense_selection: str
    victim: str
    victim_selection: str
    accuracy: float | None
    half_width_95: float | None
    epochs: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Comparison:
    """A published value with its verdict.

    Attributes:
        published: the value.
        verdict: reproduced, differs or not comparable.
        reason: the tolerance, or what makes them incomparable.
        difference: measured - published, a fraction; None if nothing was measured.
        tolerance: a fraction; None if not comparable.
        recipe_difference: what the source did otherwise in training the victim; no part of the verdict.
        same_budget: whether the budgets agree as far as the source prints its own.
    """

    published: Published
    verdict: str
    reason: str
    difference: float | None
    tolerance: float | None
    recipe_difference: str
    same_budget: bool


@cache
def published_values() -> tuple[Published, ...]:
    """All rows of `published.csv`, in its order."""
    with (files("leaderboard") / "published.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                source=row["source"],
                year=int(row["year"]),
                dataset=row["dataset"],
                train_images=int(row["train_images"]),
                attack=row["attack"],
                budget=row["budget"],
                defense=row["defense"],
                victim=row["victim"],
                accuracy=round(float(row["accuracy_percent"]) / 100, 6),
                std=round(float(row["std_percent"]) / 100, 6) if row["std_percent"] else None,
                note=row["note"],
            )
            for row in csv.DictReader(file)
        )


@cache
def _by_names() -> dict[tuple[str, str, str, str], tuple[Published, ...]]:
    found: dict[tuple[str, str, str, str], tuple[Published, ...]] = {}
    for value in published_values():
        names = value.dataset, value.attack, value.defense, value.victim
        found[names] = (*found.get(names, ()), value)
    return found


def comparisons(measured: Measured) -> list[Comparison]:
    """Every published value of the same data set, attack, defense and victim, with its verdict."""
    names = measured.dataset, measured.attack, measured.defense, measured.victim
    return [compare(measured, value) for value in _by_names().get(names, ())]


def compare(measured: Measured, published: Published) -> Comparison:
    """Reproduced if the two differ by at most 3 points, or by no more than the 95 % half-width of the measured mean.

    Not comparable are other settings than the paper's: another preset, parameters, size of the training set, or a
    budget that the source prints and that differs. Where the source does not print the radius, the customary one is
    assumed, and the reason says so.
    """
    difference = None if measured.accuracy is None else measured.accuracy - published.accuracy
    obstacles = ["not measured completely"] if difference is None else list(_obstacles(measured, published))
    tolerance = max(TOLERANCE, measured.half_width_95 or 0.0)
    if difference is None or obstacles:
        verdict, reason = NOT_COMPARABLE, "; ".join(obstacles)
    else:
        verdict = REPRODUCED if abs(difference) <= tolerance + 1e-9 else DIFFERS
        reason = f"tolerance {100 * tolerance:.1f} points"
        if measured.attack != "none" and _radius(published.budget) is None:
            reason += "; the source does not print the budget"
    return Comparison(
        published=published,
        verdict=verdict,
        reason=reason,
        difference=difference,
        tolerance=None if obstacles else tolerance,
        recipe_difference=recipe_difference(published.source, measured.defense, measured.epochs, measured.batch_size),
        same_budget=_same_budget(measured, published),
    )


def _same_budget(measured: Measured, published: Published) -> bool:
    """Whether the budgets agree as far as the source prints its own."""
    if measured.attack == "none" or not published.budget:
        return True
    ours, theirs = measured.budget or "", published.budget
    if ours.partition(":")[0] != theirs.partition(":")[0]:
        return False
    return _radius(theirs) in (None, _radius(ours))


def _obstacles(measured: Measured, published: Published) -> Iterable[str]:
    if measured.preset not in REFERENCE_PRESETS:
        yield f"measured with preset {measured.preset}" if measured.preset else "measured without the preset paper"
    if measured.train_images != published.train_images:
        yield f"trained on {measured.train_images:,} images, published on {published.train_images:,}"
    for name, selection in (
        (measured.attack, measured.attack_selection),
        (measured.defense, measured.defense_selection),
        (measured.victim, measured.victim_selection),
    ):
        if selection != name:
            yield f"measured with other settings ({selection})"
    if not _same_budget(measured, published):
        yield f"budget {measured.budget}, published {published.budget}"


def _radius(budget: str) -> float | None:
    """`l2:1.0` and `linf:8/255` as numbers; None if the text gives none."""
    numerator, _, denominator = budget.partition(":")[2].partition("/")
    try:
        return float(numerator) / float(denominator or 1)
    except ValueError:
        return None
