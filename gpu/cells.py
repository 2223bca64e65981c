"""Accuracies and costs of the table: one attack and one defense (or the ISS family) a slice, through the store."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.api.engine import Engine
from bench.datasets import loading
from bench.errors import UserError
from bench.measure.cost import device_name
from bench.plan import Plan, make_plan
from bench.run.executors.inline import Inline
from bench.run.runner import Silent, run_plan
from bench.select.config import Matrix, Settings, make_matrix
from bench.store.artifacts import Store
from bench.store.results import CellResult
from gpu.scale import Scale

DEFENSES = ("none", "dvae", "iss")


@dataclass(frozen=True)
class Place:
    """Places of data and results, and the way to compute: the same for every slice."""

    data: str
    data_root: Path
    store: Path
    device: str
    engine: Engine


def names(scale: Scale, seeds: int = 1) -> list[str]:
    """`<preset>/<attack>/<defense>/<seed>`, the clean set first; all of a seed before the next."""
    return [
        f"{preset}/{attack}/{defense}/{seed}"
        for seed in range(seeds)
        for preset in scale.presets
        for attack in scale.attacks
        for defense in DEFENSES
    ]


def matrix_of(name: str, scale: Scale, dataset: str) -> Matrix:
    """The cells of a slice alone, without the baselines a matrix adds."""
    preset, attack, defense, seed = name.split("/")
    parameters: Any = scale.parameters
    matrix = make_matrix([Settings(preset, dataset, attack, defense, scale.victim, [int(seed)], parameters)])
    return replace(
        matrix,
        attacks=tuple(chosen for chosen in matrix.attacks if chosen.name == attack),
        defenses=tuple(chosen for chosen in matrix.defenses if (chosen.name == "none") == (defense == "none")),
    )


def run_slice(name: str, scale: Scale, place: Place) -> list[dict[str, Any]]:
    """Runs the cells of a slice; what the store has is not computed again.

    Raises:
        UserError: if the store has them from another device or engine: their costs are not this one's.
    """
    matrix = matrix_of(name, scale, place.data)
    store = Store(place.store)
    with store.in_use():
        splits = loading.load(matrix.dataset, place.data_root)
        plan = make_plan(matrix, splits, store, place.data_root, place.device, engine=place.engine)
        _check_origin(plan, store, device_name(torch.device(place.device), place.engine))
        outcome = run_plan(plan, store, Inline(), Silent(), command=f"python -m gpu --slice {name}")
    return [_record(cell) for cell in outcome.cells]


def _check_origin(plan: Plan, store: Store, here: str) -> None:
    for key, job in plan.jobs.items():
        there = store.manifest(job.stage, key).cost.device if plan.states[key] == "valid" else here
        if there != here:
            raise UserError(
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
