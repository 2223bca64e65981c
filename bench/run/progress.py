"""Progress of a running matrix: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from bench.errors import in_one_line
from bench.formats import counted, duration
from bench.plan.history import History
from bench.plan.plan import Plan
from bench.stages.jobs import Job, Report

_NARROW, _WIDE = 60, 100  # columns of a terminal


def time_left(jobs: int, seconds: float | None) -> str:
    """`3 jobs left, about 20.0 s`; no number while the time of one of them is unknown."""
    if not jobs:
        return "nothing left"
    left = f"{counted(jobs, 'job')} left"
    if seconds is None:
        return f"{left}, estimating"
    return f"{left}, about {duration(seconds)}" if seconds else f"{left}, short"


def title(job: Job, plan: Plan) -> str:
    """A job as a person reads it: `train small-cnn on lsp / dvae, seed 0`."""
    cell = next(cell for cell in plan.cells if cell.jobs[job.stage] == job.key)
    names = {
        "poison": f"poison {cell.attack.text}",
        "purify": f"purify {cell.attack.text} with {cell.defense.text}",
        "train": f"train {cell.victim.text} on {cell.attack.text} / {cell.defense.text}",
    }
    return f"{names[job.stage]}, seed {job.seed}"


def _failure(report: Report) -> str:
    return f"{report.error['kind']}: {in_one_line(report.error['message'])}"


def _lost(jobs: Sequence[Job]) -> str:
    return f"; {len(jobs)} job{'s that need' if len(jobs) > 1 else ' that needs'} it will not run" if jobs else ""


class Clock:
    """Remaining time of the jobs that are left, from what such jobs took in the store's history and in this run.

    Args:
        plan: of the jobs.
        history: of the store.
        slots: jobs that run at a time, at most.
    """

    def __init__(self, plan: Plan, history: History, slots: int) -> None:
        self._history, self._slots = history, slots
        self._left = {job.key: job for job in plan.pending()}
        self._measured: dict[tuple[str, str], list[float]] = {}

    def ended(self, job: Job, seconds: float, lost: Iterable[Job] = ()) -> None:
        """Takes the job off the list, and those that need it if it failed, and learns from it."""
        for gone in (job, *lost):
            self._left.pop(gone.key, None)
        self._measured.setdefault((job.stage, job.preimage["component"]["name"]), []).append(seconds)

    def remaining(self) -> float | None:
        """Seconds until all jobs are done: the longest chain of them, or all on all workers, if that is more.

        None while the time of one of them is unknown.
        """
        total, ends = 0.0, {"": 0.0}
        for job in self._left.values():
            here = self._measured.get((job.stage, job.preimage["component"]["name"]))
            seconds = sum(here) / len(here) if here else self._history.seconds(job)
            if seconds is None:
                return None
            total += seconds
            ends[job.key] = seconds + max((ends.get(needed, 0.0) for needed in job.inputs.values()), default=0.0)
        return max(total / self._slots, *ends.values())

    def text(self) -> str:
        """Number of the jobs that are left, with their time."""
        return time_left(len(self._left), self.remaining())


class Warned:
    """Says every distinct line of a run once; a warning when the job ends that gave it first."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()

    def say(self, report: Report) -> None:
        """Prints what is new in the job's warnings, with how often it came."""
        for text, times in report.warnings.items():
            self.tell(text, f" ({times} times)" if times > 1 else "")

    def tell(self, text: str, often: str = "") -> None:
        """Prints a line."""
        if text not in self._said:
            self._said.add(text)
            self._console.print(
                f"{in_one_line(text)}{often}", style="yellow", markup=False, highlight=False, soft_wrap=True
            )


class PlainProgress:
    """One line per job, for logs and pipes."""

    def __init__(self, console: Console, history: History) -> None:
        self._console, self._history, self._warned = console, history, Warned(console)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def planned(self, plan: Plan, slots: int) -> None:
        """Says how much there is to do."""
        self._plan, self._clock = plan, Clock(plan, self._history, slots)
        self._total = len(plan.pending())
        self._done = 0
        self._console.print(
            f"{counted(len(plan.cells), 'cell')}, {counted(self._total, 'job')} to run", highlight=False
        )

    def started(self, job: Job) -> None:
        """Nothing: the line comes when the job ends."""

    def advanced(self, job: Job, done: int, total: int, note: str) -> None:
        """Nothing: a log wants one line per job."""

    def told(self, text: str) -> None:
        """The line."""
        self._warned.tell(text)

    def ended(self, job: Job, report: Report, lost: Sequence[Job] = ()) -> None:
        """The job's line."""
        self._done += 1 + len(lost)
        self._clock.ended(job, report.seconds, lost)
        state = "done" if report.status == "done" else f"FAILED ({_failure(report)})"
        line = f"[{self._done}/{self._total}] {title(job, self._plan)}: {state}, {duration(report.seconds)}"
        self._console.print(f"{line}{_lost(lost)}; {self._clock.text()}", highlight=False, markup=False, soft_wrap=True)
        self._warned.say(report)


def _columns(width: int) -> list[ProgressColumn]:
    """Columns of the live display: on a narrow terminal fewer, and the title gives way to count and time left."""
    title = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1))
    count = TextColumn("{task.completed:g}/{task.total:g}")
    note = TextColumn("{task.fields[note]}", style="dim", markup=False)
    if width < _NARROW:
        return [title, count, note]
    bar = [BarColumn(bar_width=24)] if width >= _WIDE else []
    return [SpinnerColumn(), title, *bar, count, note, TimeElapsedColumn()]


class LiveProgress:
    """Bars on a terminal: the matrix, each running job with its epoch, and the remaining time."""

    def __init__(self, console: Console, history: History) -> None:
        self._history, self._warned = history, Warned(console)
        self._progress = Progress(*_columns(console.width), console=console, expand=True)
        self._running: dict[str, TaskID] = {}
        self._shown: dict[str, float] = {}

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, slots: int) -> None:
        """Starts the bar of the whole matrix."""
        self._plan, self._clock = plan, Clock(plan, self._history, slots)
        total = len(plan.pending())
        self._matrix = self._progress.add_task(counted(len(plan.cells), "cell"), total=total, note=self._clock.text())

    def started(self, job: Job) -> None:
        """Starts the bar of a job, unless it has one: then another process takes it."""
        if job.key not in self._running:
            self._running[job.key] = self._progress.add_task(title(job, self._plan), total=1, note="")

    def advanced(self, job: Job, done: int, total: int, note: str) -> None:
        """Moves the bar of a running job, a few times a second at most."""
        now = time.monotonic()
        if job.key in self._running and (now - self._shown.get(job.key, 0.0) > 0.1 or done == total):
            self._shown[job.key] = now
            self._progress.update(self._running[job.key], completed=done, total=total, note=note)

    def told(self, text: str) -> None:
        """The line, above the bars."""
        self._warned.tell(text)

    def ended(self, job: Job, report: Report, lost: Sequence[Job] = ()) -> None:
        """Moves the bar of the matrix and removes the job's; a failure stays on the screen as a line."""
        self._clock.ended(job, report.seconds, lost)
        self._progress.update(self._matrix, advance=1 + len(lost), note=self._clock.text())
        if job.key in self._running:
            self._progress.remove_task(self._running.pop(job.key))
        if report.status == "failed":
            line = f"FAILED {title(job, self._plan)}: {_failure(report)}{_lost(lost)}"
            self._progress.console.print(line, style="red", markup=False, highlight=False)
        self._warned.say(report)


def progress_display(console: Console, history: History) -> PlainProgress | LiveProgress:
    """The display that fits the console."""
    return LiveProgress(console, history) if console.is_terminal else PlainProgress(console, history)
