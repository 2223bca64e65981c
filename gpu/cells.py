"""Accuracies and costs of the table: one attack and one defense (or the ISS family) a slice, through the store."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.api.engine import Engine
from bench.errors import UserError
from bench.plan.plan import Plan
from bench.run.executors.inline import Inline
from bench.run.prepare import Options, prepared
from bench.run.runner import Silent, run_plan
from bench.select.settings import Settings
from bench.store.artifacts import Store
from bench.store.results import CellResult
from gpu.scale import Scale

DEFENSES = ("none", "dvae", "iss")


@dataclass(frozen=True)
class Place:
    """The data set of the accuracies, and the place and way to compute: the same for every slice."""

    data: str
    options: Options

    @property
    def device(self) -> str:
        """The chosen device."""
        return self.options.chosen()[0]

    @property
    def engine(self) -> Engine:
        """The chosen engine."""
        return self.options.chosen()[1]


def names(scale: Scale, seeds: int = 1) -> list[str]:
    """`<preset>/<attack>/<defense>/<seed>`, by value; all of a seed before the next.

    The groups of attacks in turn, undefended, with D-VAE and with ISS; adversarial training before the last group.
    """
    found = []
    for seed in range(seeds):
        groups = [
            [
                f"{preset}/{attack}/{defense}/{seed}"
                for preset in scale.presets
                for attack in group
                for defense in DEFENSES
            ]
            for group in scale.groups
        ]
        trained = [[f"{scale.at_preset}/{attack}/at/{seed}" for attack in group] for group in scale.groups]
        for group in (*groups[:-1], *trained[:-1], groups[-1], trained[-1]):
            found += group
    return found


def settings_of(name: str, scale: Scale, dataset: str) -> Settings:
    """The cells of a slice alone, if no baselines are added."""
    preset, attack, defense, seed = name.split("/")
    parameters: Any = scale.parameters
    return Settings(preset, dataset, attack, defense, scale.victim, [int(seed)], parameters)


class WrongStoreError(UserError):
    """The store holds what another device or engine made: nothing in it can be used here."""


def check_place(scale: Scale, place: Place) -> None:
    """Plans the clean baseline, which runs nothing.

    Raises:
        UserError: for what is wrong with every slice: the data set, the store, the victim.
    """
    clean = settings_of(f"{scale.presets[0]}/none/none/0", scale, place.data)
    with prepared([clean], replace(place.options, baselines=False)) as ready:
        _check_origin(ready.plan, ready.store)


def run_slice(name: str, scale: Scale, place: Place) -> list[dict[str, Any]]:
    """Runs the cells of a slice; what the store has is not computed again.

    Raises:
        WrongStoreError: if the store has them from another device or engine: their costs are not this one's.
        UserError: for what this slice cannot do here: its attack needs more memory than there is.
    """
    options = replace(place.options, baselines=False, command=f"python -m gpu --slice {name}")
    with prepared([settings_of(name, scale, place.data)], options) as ready:
        _check_origin(ready.plan, ready.store)
        outcome = run_plan(ready.plan, ready.store, Inline(), Silent())
    return [_record(cell) for cell in outcome.cells]


def _check_origin(plan: Plan, store: Store) -> None:
    here = plan.session.machine
    for key, job in plan.jobs.items():
        there = store.manifest(job.stage, key).cost.device if plan.states[key] == "valid" else here
        if there != here:
            raise WrongStoreError(
                f"store {store.root} has the stage {job.stage} of this slice from {there!r}, and this run is on "
                f"{here!r}: its costs would be those of the other; give another folder with --store"
            )


def _record(cell: CellResult) -> dict[str, Any]:
    """Values for the report; the rest is in the store, under the same key."""
    return {
        "key": cell.key,
        "status": cell.status,
        "error": cell.error and {name: cell.error[name] for name in ("stage", "kind", "message")},
        "preset": cell.preset,
        "dataset": cell.dataset["spec"],
        "attack": cell.attack.text,
        "defense": cell.defense.name,
        "victim": cell.victim.text,
        "seed": cell.seed,
        "train_images": cell.dataset["train_images"],
        "test_images": cell.test_images,
        "clean_test_accuracy": cell.clean_test_accuracy,
        "residual_poison_ratio": cell.scores.get("residual_poison_ratio"),
        "purified_psnr_db": cell.scores.get("purified_psnr_db"),
        "costs": {stage: asdict(cost) for stage, cost in cell.costs.items()},
        "artifacts": cell.artifacts,
    }
