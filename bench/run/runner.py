"""Runs a plan: three waves of jobs, a cell's file as soon as its training is done; continues after failures."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from bench.errors import UserError
from bench.plan.describe import describe
from bench.plan.plan import Plan, PlannedCell
from bench.run.executors import Executor, Watcher
from bench.stages.jobs import STAGES, Job, Report
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.results import CellResult, Manifest, write_cell


class Observer(Watcher, Protocol):
    """The progress display: a watcher that also hears of waves, ends and damaged artifacts."""

    def planned(self, plan: Plan) -> None:
        """Before the first job."""
        ...

    def ended(self, job: Job, report: Report) -> None:
        """A job ended, well or not."""
        ...


class Silent:
    """An observer that shows nothing."""

    def planned(self, plan: Plan) -> None: ...
    def started(self, job: Job) -> None: ...
    def advanced(self, done: int, total: int, note: str) -> None: ...
    def ended(self, job: Job, report: Report) -> None: ...


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        cells: all cells of the matrix, in its order.
        computed: number of jobs run by stage.
        reused: number of artifacts found in the store by stage.
        repaired: damaged artifacts that were made again, as `stage key`.
    """

    cells: list[CellResult]
    computed: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    repaired: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[CellResult]:
        """Cells in which a stage failed."""
        return [cell for cell in self.cells if cell.status == "failed"]

    @property
    def skipped(self) -> list[CellResult]:
        """Cells that are impossible on this data set."""
        return [cell for cell in self.cells if cell.status == "skipped"]


def run_plan(plan: Plan, store: Store, executor: Executor, observer: Observer) -> Outcome:
    """Runs what the store lacks and writes one file per cell; nothing computed is lost if it is interrupted.

    The caller holds `store.in_use()` since before the plan was made. Of a store that is read-only, a matrix that is
    finished can be read.

    Raises:
        UserError: if the store is read-only and lacks something, or if it lost an artifact during the run.
    """
    lacking = sum(len(plan.pending(stage)) for stage in STAGES)
    if store.read_only and lacking:
        raise UserError(
            f"store {store.root} is read-only and lacks {lacking} of {len(plan.jobs)} artifacts of this matrix; "
            "copy it to a folder that can be written, and give that with --store"
        )
    if store.read_only:
        cells = [_result(cell, plan, store, {}) for cell in plan.cells] + _skipped(plan)
        return Outcome(cells, reused=Counter(job.stage for job in plan.jobs.values()))
    outcome = Outcome([])
    for key, state in plan.states.items():
        job = plan.jobs[key]
        outcome.reused[job.stage] += state == "valid"
        if state == "damaged":
            outcome.repaired.append(f"{job.stage} {key[:12]}")
    errors: dict[str, dict[str, str]] = {}
    waiting = {cell.jobs["train"]: [] for cell in plan.cells}  # type: dict[str, list[PlannedCell]]
    for cell in plan.cells:
        waiting[cell.jobs["train"]].append(cell)
    store.begin_plan(plan.name, ((job.stage, key) for key, job in plan.jobs.items()))
    observer.planned(plan)
    for cell in plan.cells:
        if all(plan.states[key] == "valid" for key in cell.jobs.values()):
            write_cell(store.cells, _result(cell, plan, store, errors))
    for stage in STAGES:
        ready = [job for job in plan.pending(stage) if not any(key in errors for key in job.inputs.values())]
        jobs = {job.key: job for job in ready}
        for report in _until_interrupted(executor.run(ready, plan.session, observer)):
            outcome.computed[stage] += 1
            if report.status == "failed":
                errors[report.key] = report.error
            observer.ended(jobs[report.key], report)
            if stage == "train":
                for cell in waiting[report.key]:
                    write_cell(store.cells, _result(cell, plan, store, errors))
    outcome.cells = [_result(cell, plan, store, errors) for cell in plan.cells] + _skipped(plan)
    for result in outcome.cells:
        if result.status != "done":
            write_cell(store.cells, result)
    store.end_plan(plan.name)
    return outcome


def _until_interrupted(reports: Iterator[Report]) -> Iterator[Report]:
    """Passes reports on until Ctrl-C, also where a library swallows the KeyboardInterrupt and fails the job instead."""
    interrupted = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield from reports
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        for report in reports:
            if interrupted:
                raise KeyboardInterrupt
            yield report
    finally:
        signal.signal(signal.SIGINT, before)


def _result(cell: PlannedCell, plan: Plan, store: Store, errors: dict[str, dict[str, str]]) -> CellResult:
    """A cell's record, from the manifests of its artifacts or from the first failure among its stages."""
    common = _coordinates(cell, plan)
    error = next((errors[key] for key in cell.jobs.values() if key in errors), None)
    manifests: dict[str, Manifest] = {}
    for stage, key in cell.jobs.items():
        if key not in errors and store.folder(stage, key).is_dir():
            with suppress(DamagedArtifactError):  # not made again, because an earlier stage failed
                manifests[stage] = store.manifest(stage, key)
    common |= {
        "costs": {stage: manifest.cost for stage, manifest in manifests.items()},
        "logs": {stage: manifest.payload.get("logs", {}) for stage, manifest in manifests.items()},
        "scores": {k: v for m in manifests.values() for k, v in m.payload.get("scores", {}).items()},
        "artifacts": {stage: cell.jobs[stage] for stage in manifests},
    }
    if error is not None:
        return CellResult(status="failed", error=error, provenance={"command": plan.session.command}, **common)
    if lost := [f"{stage} {key[:12]}" for stage, key in cell.jobs.items() if stage not in manifests]:
        raise UserError(
            f"store {store.root}: artifact {lost[0]} is gone; was the store deleted during the run? "
            "Run the same command again"
        )
    train = manifests["train"]
    return CellResult(
        status="done",
        clean_test_accuracy=train.payload["clean_test_accuracy"],
        test_images=train.payload["test_images"],
        curve=train.payload["curve"],
        view_seconds=train.payload["view_seconds"],
        provenance={**train.environment, "command": plan.session.command},
        **common,
    )


def _skipped(plan: Plan) -> list[CellResult]:
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
        "preset": plan.matrix.preset,
        "precision": plan.session.engine.precision,
        "dataset": plan.dataset,
        "attack": describe(cell.attack),
        "defense": describe(cell.defense),
        "victim": describe(cell.victim),
        "seed": cell.seed,
    }
