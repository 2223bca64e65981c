"""Runs a plan: three waves of jobs, a cell's file as soon as its training is done; continues after failures."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from bench.errors import UserError
from bench.plan.plan import Plan, PlannedCell
from bench.run.executors import Executor, Watcher
from bench.run.records import cell_result, skipped_results
from bench.stages.jobs import STAGES, Job, Report
from bench.store.artifacts import Store
from bench.store.results import CellResult, write_cell


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
        cells = [cell_result(cell, plan, store, {}) for cell in plan.cells] + skipped_results(plan)
        return Outcome(cells, reused=Counter(job.stage for job in plan.jobs.values()))
    outcome = Outcome([])
    for key, state in plan.states.items():
        job = plan.jobs[key]
        outcome.reused[job.stage] += state == "valid"
        if state == "damaged":
            outcome.repaired.append(f"{job.stage} {key[:12]}")
    errors: dict[str, dict[str, str]] = {}
    results: dict[str, CellResult] = {}

    def finish(cells: Iterable[PlannedCell]) -> None:
        for cell in cells:
            results[cell.key] = cell_result(cell, plan, store, errors)
            write_cell(store.cells, results[cell.key])

    waiting: dict[str, list[PlannedCell]] = {}
    for cell in plan.cells:
        waiting.setdefault(cell.jobs["train"], []).append(cell)
    store.begin_plan(plan.name, ((job.stage, key) for key, job in plan.jobs.items()))
    observer.planned(plan)
    finish(cell for cell in plan.cells if all(plan.states[key] == "valid" for key in cell.jobs.values()))
    for stage in STAGES:
        ready = [job for job in plan.pending(stage) if not any(key in errors for key in job.inputs.values())]
        jobs = {job.key: job for job in ready}
        for report in _until_interrupted(executor.run(ready, plan.session, observer)):
            outcome.computed[stage] += 1
            if report.status == "failed":
                errors[report.key] = report.error
            observer.ended(jobs[report.key], report)
            finish(waiting.get(report.key, ()))
    finish(cell for cell in plan.cells if cell.key not in results)  # their training never began
    skipped = skipped_results(plan)
    for result in skipped:
        write_cell(store.cells, result)
    outcome.cells = [results[cell.key] for cell in plan.cells] + skipped
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
