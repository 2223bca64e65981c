"""Records of cells, from the manifests of their artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bench.errors import UserError
from bench.plan.describe import describe
from bench.plan.plan import Plan, PlannedCell
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.results import CellResult, Manifest


def cell_result(cell: PlannedCell, plan: Plan, store: Store, errors: dict[str, dict[str, str]]) -> CellResult:
    """A cell's record, from the manifests of its artifacts or from the first failure among its stages."""
    common = _coordinates(cell, plan)
    error = next((errors[key] for key in cell.jobs.values() if key in errors), None)
    manifests: dict[str, Manifest] = {}
    for stage, key in cell.jobs.items():
        if key not in errors and store.folder(stage, key).is_dir():
            with suppress(DamagedArtifactError):  # not made again, because an earlier stage failed
                manifests[stage] = store.manifest(stage, key)
    common |= measured(manifests) | {"artifacts": {stage: cell.jobs[stage] for stage in manifests}}
    if error is not None:
        return CellResult(status="failed", error=error, provenance={"command": plan.session.command}, **common)
    if lost := [f"{stage} {key[:12]}" for stage, key in cell.jobs.items() if stage not in manifests]:
        raise UserError(
            f"store {store.root}: artifact {lost[0]} is gone; was the store deleted during the run? "
            "Run the same command again"
        )
    train = manifests["train"]
    provenance = {**train.environment, "command": plan.session.command}
    return CellResult(status="done", provenance=provenance, **judged(train), **common)


def measured(manifests: Mapping[str, Manifest]) -> dict[str, Any]:
    """Part of a cell's record that its stages decide: costs, logs, scores."""
    return {
        "costs": {stage: manifest.cost for stage, manifest in manifests.items()},
        "logs": {stage: manifest.payload.get("logs", {}) for stage, manifest in manifests.items()},
        "scores": {k: v for m in manifests.values() for k, v in m.payload.get("scores", {}).items()},
    }


def judged(train: Manifest) -> dict[str, Any]:
    """Part of a finished cell's record that its training decides."""
    return {name: train.payload[name] for name in ("clean_test_accuracy", "test_images", "curve", "view_seconds")}


def skipped_results(plan: Plan) -> list[CellResult]:
    """The records of cells that are impossible."""
    return [
        CellResult(
            status="skipped",
            error={"message": why},
            provenance={"command": plan.session.command},
            **_coordinates(cell, plan),
        )
        for cell, why in plan.skipped
    ]


def _coordinates(cell: PlannedCell, plan: Plan) -> dict[str, Any]:
    """Part of a cell's record that does not depend on its outcome."""
    return {
        "key": cell.key,
        "preimage": cell.preimage,
        "preset": plan.matrix.preset,
        "precision": plan.session.engine.precision,
        "dataset": plan.dataset,
        "attack": describe(cell.attack),
        "defense": describe(cell.defense),
        "victim": describe(cell.victim),
        "seed": cell.seed,
    }
