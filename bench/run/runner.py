"""Runs a plan: a job when its inputs exist, a cell's file when its training is done; continues after failures."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from bench.errors import UserError
from bench.plan.plan import Plan, PlannedCell
from bench.run.executors import Executor, Reports, Watcher
from bench.run.records import cell_result, skipped_results
from bench.run.schedule import Schedule, Seconds
from bench.stages.jobs import Job, Report
from bench.store.artifacts import Store
from bench.store.results import CellResult, write_cell


class Observer(Watcher, Protocol):
    """The progress display: a watcher that also hears of the plan and of ends."""

    def planned(self, plan: Plan, slots: int) -> None:
        """Before the first job; so many jobs run at a time, at most."""
        ...

    def ended(self, job: Job, report: Report, lost: Sequence[Job] = ()) -> None:
        """A job ended; if it failed, the lost jobs need it and will not run."""
        ...


class Silent:
    """An observer that shows nothing."""

    def planned(self, plan: Plan, slots: int) -> None: ...
    def started(self, job: Job) -> None: ...
    def advanced(self, job: Job, done: int, total: int, note: str) -> None: ...
    def told(self, text: str) -> None: ...
    def ended(self, job: Job, report: Report, lost: Sequence[Job] = ()) -> None: ...


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


def run_plan(
    plan: Plan, store: Store, executor: Executor, observer: Observer, seconds: Seconds | None = None
) -> Outcome:
    """Runs what the store lacks and writes one file per cell; nothing computed is lost if it is interrupted.

    The caller holds `store.in_use()` since before the plan was made. Of a store that is read-only, a matrix that is
    finished can be read.

    Args:
        plan: of the matrix.
        store: the session's.
        executor: of the jobs.
        observer: is told how far it is.
        seconds: expected time of a job, which decides the order if several run at a time; all alike if None.

    Raises:
        UserError: if the store is read-only and lacks something, if it lost an artifact during the run, or if the
            executor cannot run jobs here.
    """
    pending = plan.pending()
    if store.read_only and pending:
        raise UserError(
            f"store {store.root} is read-only and lacks {len(pending)} of {len(plan.jobs)} artifacts of this matrix; "
            "copy it to a folder that can be written, and give that with --store; "
            f"`bench publish --store {store.root} --out ELSEWHERE` publishes the cells it has"
        )
    if store.read_only:
        cells = [cell_result(cell, plan, store, {}) for cell in plan.cells] + skipped_results(plan)
        return Outcome(cells, reused=Counter(job.stage for job in plan.jobs.values()))
    schedule = Schedule(pending, seconds) if seconds and executor.slots > 1 else Schedule(pending)
    reports = executor.run(schedule, plan.session, observer) if pending else _none()
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
    observer.planned(plan, executor.slots)
    finish(cell for cell in plan.cells if all(plan.states[key] == "valid" for key in cell.jobs.values()))
    with closing(reports):
        for report in _until_interrupted(reports):
            outcome.computed[report.stage] += 1
            lost: list[Job] = []
            if report.status == "done":
                schedule.done(report.key)
            else:
                errors[report.key] = report.error
                lost = schedule.failed(report.key)
            observer.ended(plan.jobs[report.key], report, lost)
            for key in (report.key, *(job.key for job in lost)):
                finish(waiting.get(key, ()))
    finish(cell for cell in plan.cells if cell.key not in results)  # their training was in the store
    skipped = skipped_results(plan)
    for result in skipped:
        write_cell(store.cells, result)
    outcome.cells = [results[cell.key] for cell in plan.cells] + skipped
    store.end_plan(plan.name)
    return outcome


def _none() -> Reports:
    """The reports of no job."""
    yield from ()


def _until_interrupted(reports: Iterator[Report]) -> Iterator[Report]:
    """Passes reports on until a stop, also where a library swallows the KeyboardInterrupt and fails the job instead.

    Ctrl-C is a stop, and so is every signal for which the command has a handler in Python.
    """
    stop: KeyboardInterrupt | None = None

    def remembering(handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal stop
            try:
                handler(number, frame)
            except KeyboardInterrupt as raised:
                stop = raised
                raise

        return handle

    if threading.current_thread() is not threading.main_thread():
        yield from reports
        return
    before = {signal.SIGINT: signal.signal(signal.SIGINT, remembering(signal.default_int_handler))}
    for number in (signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = signal.signal(number, remembering(handler))
    try:
        for report in reports:
            if stop is not None:
                raise stop
            yield report
    finally:
        for number, replaced in before.items():
            signal.signal(number, replaced)
