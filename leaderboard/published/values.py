"""Values printed in papers, next to measured ones and never mixed with them: same experiment? Do they agree?

`published.csv` holds what was read in the sources, `recipes.csv` what it was made with; PUBLISHED.md says where, and
which rows were left out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from bench import formats
from leaderboard.published.recipes import Recipe, alternatives, contradicts, departures, recipe
from leaderboard.published.sources import recipe_difference, sources
from leaderboard.tables.statistics import half_width_of

REPRODUCED, DIFFERS, UNDECIDED = "reproduced", "differs", "undecided"
NOT_COMPARABLE, OTHER_METHOD = "not comparable", "other method"
REPEAT, ORACLE, USES = "repeat", "oracle", "uses="
_PRESETS = frozenset({"", "paper"})
"""The text of a selection tells what is not at its default only under a preset that keeps the defaults."""
_USUAL_VICTIM = "resnet18"
_MADE_FROM = {"cifar10-jpeg": "cifar10"}
"""Data sets of this project that were made from the images of a published one."""
_NAMED = 3
"""Parameters that a reason names of one component; the files hold all of them."""


@dataclass(frozen=True)
class Published:
    """One printed value.

    Attributes:
        source: key of a section of PUBLISHED.md.
        year: of the publication.
        dataset, victim: registered names here.
        attack, defense: registered names here with the parameters that the row itself states: `ops:sparsity=2`.
        train_images: how many the source trained on.
        budget: as `Budget` prints it; norm alone if the radius is not printed, "" if nothing is.
        accuracy, std: fractions; std None where none is printed.
        note: where in the source, and doubts.
        marks: `repeat` (of the undefended value of the same source), `oracle` (chosen by the attack's name or by test
            accuracy), `uses=` knowledge beyond the poisoned set.
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
    marks: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Data set, attack, defense and victim without parameters: where it belongs."""
        return self.dataset, self.attack.partition(":")[0], self.defense.partition(":")[0], self.victim

    @property
    def mark_text(self) -> str:
        """The marks in words, for readers."""
        words = {REPEAT: "repeat of undefended", ORACLE: "oracle"}
        return ", ".join(words.get(mark, mark.replace("=", " ")) for mark in self.marks)

    @property
    def half_width_95(self) -> float | None:
        """Of its mean, where the source prints a standard deviation and how many runs are behind it."""
        runs = sources()[self.source].runs
        return None if self.std is None or runs is None else half_width_of(self.std, runs)


@dataclass(frozen=True)
class Measured:
    """Measured result for one data set, preset, victim, attack and defense; accuracy is the mean over seeds.

    Parameters are all of them, files by their content; the victim's are with its recipe, as without defense.
    """

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
    epochs: int | None
    attack_parameters: Mapping[str, Any]
    defense_parameters: Mapping[str, Any]
    victim_parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A published value with its verdict.

    Attributes:
        measured: the experiment of this harness.
        published: the value.
        verdict: reproduced, differs, undecided, not comparable or other method.
        reason: the tolerance, or what makes them incomparable.
        difference: measured - published, a fraction; None if nothing was measured or the method is another.
        tolerance: a fraction; None if not comparable.
        recipe: the attack and the defense behind the value, with all parameters that are stated.
        recipe_difference: what the source did otherwise in training the victim.
        same_budget: whether the budgets agree as far as the source prints its own.
        same_parameters: whether the parameters of attack and defense agree that the row itself states.
    """

    measured: Measured
    published: Published
    verdict: str
    reason: str
    difference: float | None
    tolerance: float | None
    recipe: str
    recipe_difference: str
    same_budget: bool
    same_parameters: bool


def measured_of(row: Mapping[str, Any], accuracy: float | None, half_width_95: float | None) -> Measured:
    """From the columns of a cell's row (`CELL_COLUMNS`); accuracy and its half-width are given."""
    epochs, budget = row["epochs"], row["budget"]
    return Measured(
        **{name: row[name] for name in ("dataset", "preset", "attack", "defense", "victim")},
        **{f"{kind}_selection": row[f"{kind}_selection"] for kind in ("attack", "defense", "victim")},
        **{name: _settings(row[name]) for name in ("attack_parameters", "defense_parameters", "victim_parameters")},
        train_images=int(row["train_images"]),
        budget=None if formats.is_missing(budget) else budget,
        epochs=None if formats.is_missing(epochs) else int(epochs),
        accuracy=accuracy,
        half_width_95=half_width_95,
    )


@cache
def published_values() -> tuple[Published, ...]:
    """All rows of `published.csv`, in its order."""
    with (files("leaderboard.published") / "published.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                **{name: row[name] for name in ("source", "dataset", "attack", "budget", "defense", "victim", "note")},
                year=int(row["year"]),
                train_images=int(row["train_images"]),
                accuracy=round(float(row["accuracy_percent"]) / 100, 6),
                std=round(float(row["std_percent"]) / 100, 6) if row["std_percent"] else None,
                marks=tuple(row["marks"].split()),
            )
            for row in csv.DictReader(file)
        )


@cache
def repeats() -> tuple[tuple[Published, Published], ...]:
    """Published values that were measured twice by the same source with the same recipe: first and second."""
    first = {(v.source, *v.names): v for v in published_values() if REPEAT not in v.marks}
    return tuple((first[v.source, *v.names], v) for v in published_values() if REPEAT in v.marks)


@cache
def tolerance() -> float:
    """Repeatability of published single runs: the mean absolute difference of the repeats on CIFAR-10.

    A fraction, rounded to 0.01 points: the number that is printed is the one that judges.
    """
    found = [abs(b.accuracy - a.accuracy) for a, b in repeats() if a.dataset == "cifar10"]
    return round(sum(found) / len(found), 4)


@cache
def largest_repeat() -> float:
    """The largest of those differences."""
    return max(abs(b.accuracy - a.accuracy) for a, b in repeats() if a.dataset == "cifar10")


@cache
def _by_names() -> dict[tuple[str, str, str, str], tuple[Published, ...]]:
    found: dict[tuple[str, str, str, str], tuple[Published, ...]] = {}
    for value in published_values():
        found[value.names] = (*found.get(value.names, ()), value)
    return found


def comparisons(measured: Measured) -> list[Comparison]:
    """Every published value of the same data set, attack, defense and victim, with its verdict.

    Where no source has this victim, those of the papers' own victim stand for orientation: they are not comparable.
    """
    dataset = _MADE_FROM.get(measured.dataset, measured.dataset)
    names = dataset, measured.attack, measured.defense
    found = _by_names().get((*names, measured.victim)) or _by_names().get((*names, _USUAL_VICTIM), ())
    return [compare(measured, value) for value in found]


def compare(measured: Measured, published: Published) -> Comparison:
    """Reproduced if the two differ by no more than the largest of three: the tolerance and the half-width of each.

    Undecided: they do, but the interval is wider than any published run is from its repeat.
    Other method: the source's attack or defense is another one of the same name. Not comparable: another
    recipe than the row's, as far as it is stated, another size of the training set, or a choice that nobody can make
    who knows neither the attack nor the test labels.
    """
    difference = None if measured.accuracy is None else measured.accuracy - published.accuracy
    kinds = (("attack", published.attack), ("defense", published.defense))
    recipes = {kind: recipe(published.source, kind, text, published.dataset) for kind, text in kinds}
    recipes["victim"] = _victim_recipe(published)
    remarks = [found.remark for found in recipes.values() if found.remark]
    others = [found.other for found in recipes.values() if found.other]
    within = max(tolerance(), measured.half_width_95 or 0.0, published.half_width_95 or 0.0)
    if others:
        verdict, reason = OTHER_METHOD, "; ".join(others)
    elif difference is None:
        verdict, reason = NOT_COMPARABLE, "not measured completely"
    elif obstacles := list(_obstacles(measured, published, recipes)):
        verdict, reason = NOT_COMPARABLE, "; ".join([*obstacles, *remarks])
    else:
        covered = UNDECIDED if within > largest_repeat() + 1e-9 else REPRODUCED
        verdict = covered if abs(difference) <= within + 1e-9 else DIFFERS
        parts = [f"tolerance {100 * within:.2f} points"]
        if verdict == DIFFERS and abs(difference) <= largest_repeat() + 1e-9:
            parts.append(f"published runs have differed by up to {100 * largest_repeat():.1f} from their own repeats")
        if verdict == UNDECIDED:
            parts.append("more seeds narrow the interval")
        reason = "; ".join([*parts, *remarks])
    return Comparison(
        measured=measured,
        published=published,
        verdict=verdict,
        reason=reason,
        difference=None if others else difference,
        recipe=" / ".join(
            found.text(name) for found, name in zip(recipes.values(), published.names[1:3], strict=False)
        ),
        tolerance=within if verdict in (REPRODUCED, DIFFERS, UNDECIDED) else None,
        recipe_difference=recipe_difference(
            published.source, measured.defense, measured.epochs, measured.victim_parameters.get("batch_size")
        ),
        same_budget=_same_budget(measured, published),
        same_parameters=not (
            contradicts(published.attack, measured.attack_parameters)
            or contradicts(published.defense, measured.defense_parameters)
        ),
    )


def _victim_recipe(published: Published) -> Recipe:
    """The reference recipe of the data set; number of epochs and batch size may also be the source's own.

    Victims are trained for 60 to 200 epochs in the sources, with schedules that nobody prints in full: asking for
    each one's own would leave next to nothing to compare.
    """
    found, source = recipe(published.source, "victim", published.victim, published.dataset), sources()[published.source]
    own = {name: str(value) for name in ("epochs", "batch_size") if (value := getattr(source, name)) is not None}
    both = {name: alternatives(*found.stated[name], value) for name, value in own.items()}
    return replace(found, stated={**found.stated, **both})


def _obstacles(measured: Measured, published: Published, recipes: Mapping[str, Recipe]) -> Iterable[str]:
    if measured.dataset != published.dataset:
        yield f"measured on {measured.dataset}, published on {published.dataset}"
    if measured.victim != published.victim:
        yield f"measured with {measured.victim}, published with {published.victim}"
    if measured.preset not in _PRESETS:
        yield f"measured with preset {measured.preset}"
    if measured.train_images != published.train_images:
        yield f"trained on {measured.train_images:,} images, published on {published.train_images:,}"
    if ORACLE in published.marks:
        yield "an oracle's value: chosen by the attack's name or by test accuracy"
    for kind, name, parameters, selection in (
        ("attack", measured.attack, measured.attack_parameters, measured.attack_selection),
        ("defense", measured.defense, measured.defense_parameters, measured.defense_selection),
        ("victim", measured.victim, measured.victim_parameters, measured.victim_selection),
    ):
        if kind == "victim" and name != published.victim:
            continue  # said above
        if not recipes[kind].known:
            yield f"the recipe of {name} is not in the table"
        found = list(departures(recipes[kind], name, parameters, selection))
        yield from found[:_NAMED]
        if len(found) > _NAMED:
            yield f"{name}: {len(found) - _NAMED} more parameters"


def _same_budget(measured: Measured, published: Published) -> bool:
    """True if the budgets agree as far as the source prints its own."""
    if measured.attack == "none" or not published.budget:
        return True
    ours, theirs = measured.budget or "", published.budget
    if ours.partition(":")[0] != theirs.partition(":")[0]:
        return False
    return _radius(theirs) in (None, _radius(ours))


def _radius(budget: str) -> float | None:
    """`l2:1.0` and `linf:8/255` as numbers; None if the text gives none."""
    numerator, _, denominator = budget.partition(":")[2].partition("/")
    try:
        return float(numerator) / float(denominator or 1)
    except ValueError:
        return None


@cache
def _parsed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _settings(text: Any) -> Mapping[str, Any]:
    return {} if formats.is_missing(text) else _parsed(text)
