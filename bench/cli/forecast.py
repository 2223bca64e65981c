"""`bench plan`: what a run would do, what is cached, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from bench.datasets.splits import Splits
from bench.formats import counted, duration
from bench.plan.arithmetic import Arithmetic
from bench.plan.history import History
from bench.plan.plan import Plan
from bench.run.progress import time_left, title
from bench.run.schedule import makespan
from bench.stages.jobs import STAGES, Job
from bench.store.artifacts import Store

_HOW = (
    "~ was never timed here: by arithmetic, from the passes through each network and the rate of a few steps on this "
    "device; short: no network"
)
_STATES = {"valid": "cached", "absent": "to run", "damaged": "damaged, to run again"}


class _Times:
    """Expected times of jobs: as measured, else by arithmetic; never stored."""

    def __init__(self, history: History, arithmetic: Arithmetic) -> None:
        self._history, self._arithmetic = history, arithmetic
        self.estimated = False
        self.problems = arithmetic.problems

    def seconds(self, jobs: Sequence[Job]) -> tuple[float | None, bool]:
        """Of all jobs together, None if the time of one is unknown; and whether a part of it is estimated."""
        measured = [self._history.seconds(job) for job in jobs]
        seconds = [
            self._arithmetic.seconds(job) if value is None else value for job, value in zip(jobs, measured, strict=True)
        ]
        known = [value for value in seconds if value is not None]
        return (sum(known) if len(known) == len(jobs) else None), None in measured

    def text(self, jobs: Sequence[Job]) -> str:
        """`3 min 20 s`; with `~` if a part is estimated, `short` if no network is involved."""
        seconds, estimated = self.seconds(jobs)
        if seconds is None:
            return "not timed yet"
        if not estimated:
            return duration(seconds)
        self.estimated = True
        return f"~{duration(seconds)}" if seconds else "short"


def print_plan(plan: Plan, store: Store, splits: Splits, *, each_job: bool, slots: int = 1) -> None:
    """Prints one row per stage and component, or per job, and the total; also for so many jobs at a time."""
    matrix = plan.matrix
    times = _Times(History(store, plan.session), Arithmetic(plan, splits))
    console = Console(highlight=False)
    console.print(_jobs(plan, times) if each_job else _summary(plan, times))
    for reason in dict.fromkeys(reason for _, reason in plan.skipped):
        cells = sum(why == reason for _, why in plan.skipped)
        console.print(f"skipped, {counted(cells, 'cell')}: {reason}", style="yellow", markup=False, soft_wrap=True)
    if matrix.from_dataset:
        text = f"for this data set (preset {matrix.preset} or file): {', '.join(matrix.from_dataset)}"
        console.print(text, markup=False, soft_wrap=True)
    waiting = plan.pending()
    sides = [counted(len(getattr(matrix, f"{side}s")), side) for side in ("attack", "defense", "victim", "seed")]
    if times.estimated:
        console.print(_HOW, style="dim", soft_wrap=True)
    console.print(
        f"{counted(len(plan.cells), 'cell')} ({' x '.join(sides)}), {counted(len(plan.jobs), 'job')}, "
        f"{len(waiting)} to run on {plan.session.machine}: {time_left(len(waiting), times.seconds(waiting)[0])}"
        f"{_side_by_side(waiting, times, slots)}",
        soft_wrap=True,
    )
    for key, why in times.problems.items():
        text = f"cannot estimate {title(plan.jobs[key], plan)}: {why}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)


def _side_by_side(jobs: Sequence[Job], times: _Times, slots: int) -> str:
    """The time from the first start to the last end, if several jobs run at a time and all times are known."""
    seconds = {job.key: times.seconds([job])[0] for job in jobs}
    known = {key: value for key, value in seconds.items() if value is not None}
    if slots < 2 or not jobs or len(known) < len(jobs):
        return ""
    at_a_time = f"{slots} at a time" if slots < len(jobs) else "all at a time that are ready"
    return f", {duration(makespan(jobs, lambda job: known[job.key], slots))} with {at_a_time}"


def _summary(plan: Plan, times: _Times) -> Table:
    """Numbers of jobs by stage and component, with the time of those that have to run."""
    table = Table("stage", "component", "jobs", "cached", "to run", "time", box=None, pad_edge=False)
    for number in (2, 3, 4, 5):
        table.columns[number].justify = "right"
    for stage, component, jobs in _groups(plan):
        waiting = [job for job in jobs if plan.states[job.key] != "valid"]
        cached = len(jobs) - len(waiting)
        counts = (str(count or "-") for count in (len(jobs), cached, len(waiting)))
        table.add_row(stage, component, *counts, times.text(waiting) if waiting else "-")
    return table


def _groups(plan: Plan) -> Iterator[tuple[str, str, list[Job]]]:
    """(stage, what runs in it, its jobs): a training is named by its victim and the defense that acts on it."""
    found: dict[tuple[str, str], list[Job]] = {}
    for cell in plan.cells:
        for stage, key in cell.jobs.items():
            job = plan.jobs[key]
            acting = f" with {cell.defense.text}" if job.defense else ""
            name = {"poison": cell.attack.text, "purify": cell.defense.text, "train": cell.victim.text + acting}[stage]
            of_name = found.setdefault((stage, name), [])
            if job not in of_name:
                of_name.append(job)
    for (stage, name), jobs in sorted(found.items(), key=lambda item: STAGES.index(item[0][0])):
        yield stage, name, jobs


def _jobs(plan: Plan, times: _Times) -> Table:
    table = Table("stage", "job", "state", "time", box=None, pad_edge=False)
    for stage in STAGES:
        for job in (job for job in plan.jobs.values() if job.stage == stage):
            state = plan.states[job.key]
            table.add_row(stage, title(job, plan), _STATES[state], "-" if state == "valid" else times.text([job]))
    return table
