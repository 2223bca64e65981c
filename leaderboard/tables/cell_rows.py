"""One stored cell as one flat row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.store.results import CellResult, Cost, of_training
from leaderboard.tables.flags import Flag
from leaderboard.tables.targets import peak_accuracy, seconds_to_targets


def cell_row(cell: CellResult, flags: Sequence[Flag] = ()) -> dict[str, Any]:
    """The measured columns of `CELL_COLUMNS`, then `score_<name>` and `provenance_<name>`, sorted; unknown is None.

    `flags` come on top of what the logs say.
    """
    purify, train = cell.costs.get("purify"), cell.costs.get("train")
    poison = cell.costs.get("poison")
    charged = [cost for cost in (purify, train) if cost is not None]
    error = cell.error or {}
    train_seconds = of_training(train.phases) if train and "train" in train.phases else None
    purify_seconds = purify.wall_seconds if purify else None
    per_10k = None
    if cell.view_seconds is not None and cell.test_images:
        per_10k = cell.view_seconds / cell.test_images * 10_000
    return {
        "key": cell.key,
        "status": cell.status,
        "dataset": cell.dataset["name"],
        "dataset_selection": cell.dataset["spec"],
        "dataset_digest": cell.dataset["digest"],
        "train_images": cell.dataset["train_images"],
        "test_images": cell.test_images if cell.test_images is not None else cell.dataset["test_images"],
        "preset": cell.preset,
        "precision": cell.precision,
        "victim": cell.victim.name,
        "victim_selection": cell.victim.text,
        "epochs": trained_epochs(cell),
        "batch_size": cell.victim.extra.get("recipe", {}).get("batch_size"),
        "victim_parameters": _json(cell.victim.parameters | cell.victim.extra.get("recipe", {})),
        "attack": cell.attack.name,
        "attack_selection": cell.attack.text,
        "attack_parameters": _json(_by_content(cell.attack.parameters, cell.logs.get("poison", {}))),
        "budget": _text(cell.attack.extra.get("budget")),
        "attack_traits": tuple(cell.attack.extra.get("traits", ())),
        "defense": cell.defense.name,
        "defense_selection": cell.defense.text,
        "defense_parameters": _json(_by_content(cell.defense.parameters, cell.logs.get("purify", {}))),
        "family": cell.defense.family,
        "uses": tuple(cell.defense.uses),
        "trains_differently": bool(cell.defense.extra.get("trains_differently", False)),
        "sees_test_images": bool(cell.defense.extra.get("sees_test_images", False)),
        "seed": cell.seed,
        "clean_test_accuracy": cell.clean_test_accuracy if cell.status == "done" else None,
        "peak_accuracy": peak_accuracy(cell),
        **seconds_to_targets(cell, 0.0 if cell.defense.name == "none" else purify_seconds, train_seconds),
        "purify_seconds": purify_seconds,
        "purify_seconds_min": min(_runs(purify)) if purify else None,
        "purify_seconds_max": max(_runs(purify)) if purify else None,
        "purify_runs": len(_runs(purify)) if purify else None,
        "fit_seconds": purify.phases.get("fit") if purify else None,
        "apply_seconds": purify.phases.get("apply") if purify else None,
        "train_seconds": train_seconds,
        "warm_seconds": sum(cost.phases.get("warm", 0.0) for cost in charged) if charged else None,
        "view_seconds": cell.view_seconds,
        "view_seconds_per_10k": per_10k,
        "peak_gpu_bytes": _largest([cost.peak_gpu_bytes for cost in charged]),
        "peak_host_bytes": _largest([cost.peak_host_bytes for cost in charged]),
        "purify_energy_joules": purify.energy_joules if purify else None,
        "train_energy_joules": of_training(train.phase_joules) if train and "train" in train.phase_joules else None,
        "view_energy_joules": train.phase_joules.get("view") if train and cell.view_seconds is not None else None,
        "device": tuple(sorted({cost.device for cost in charged})),
        "exclusive": _all_exclusive(charged),
        "poison_seconds": poison.wall_seconds if poison else None,
        **{f"{stage}_key": cell.artifacts.get(stage) for stage in ("poison", "purify", "train")},
        "flags": (*_flags(cell), *flags),
        "error_stage": error.get("stage"),
        "error_message": error.get("message"),
        **{f"score_{name}": value for name, value in sorted(cell.scores.items())},
        **dict(sorted(_flat("provenance", cell.provenance).items())),
    }


def trained_epochs(cell: CellResult) -> int | None:
    """The last epoch of the curve: a defense may have changed the recipe."""
    return int(cell.curve[-1]["epoch"] or 0) if cell.curve else None


def _flags(cell: CellResult) -> Iterator[Flag]:
    """Reasons to doubt a result: a cost, and the plug-ins' own logs, of which only a `false` or `true` does."""
    train = cell.logs.get("train", {})
    overfitting = train.get("catastrophic_overfitting")
    if cell.logs.get("poison", {}).get("converged") is False:
        yield Flag.NOT_CONVERGED
    if overfitting is True:
        yield Flag.OVERFITTING
    if overfitting == "not checked":
        yield Flag.OVERFITTING_UNKNOWN
    if any(cost.pays_once for cost in cell.costs.values()):
        yield Flag.PAYS_ONCE
    if "micro_batches" in train:
        yield Flag.MICRO_BATCHES


def _runs(cost: Cost) -> list[float]:
    return cost.repeats or [cost.wall_seconds]


def _largest(values: list[int | None]) -> int | None:
    """The largest, or None if one of them was not measured."""
    measured = [value for value in values if value is not None]
    return max(measured) if measured and len(measured) == len(values) else None


def _all_exclusive(costs: list[Cost]) -> bool | None:
    """False if one cost was not exclusive, else None if that of one could not be told."""
    answers = [cost.exclusive for cost in costs]
    if False in answers:
        return False
    return True if answers and None not in answers else None


def _by_content(parameters: Mapping[str, Any], logs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters; one whose content the plug-in logs as `<name>_sha256` has that as its value, not its path."""
    return {name: f"sha256-{logs[log]}" if (log := f"{name}_sha256") in logs else v for name, v in parameters.items()}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _flat(prefix: str, value: Any) -> dict[str, str | None]:
    """Nested settings as one level of text: {"versions": {"torch": "2.11"}} gives provenance_versions_torch."""
    if isinstance(value, Mapping):
        return {name: text for key, inner in value.items() for name, text in _flat(f"{prefix}_{key}", inner).items()}
    return {prefix: _text(value)}
