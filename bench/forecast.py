"""`bench plan`: what a run would do, what is cached, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from rich.console import Console
from rich.table import Table

from bench.config import Matrix
from bench.cost import device_name
from bench.jobs import STAGES, Job
from bench.plan import History, Plan
from bench.progress import Clock, duration, title
from bench.store import Store

_STATES = {"valid": "cached", "absent": "to run", "damaged": "damaged, to run again"}


def print_plan(matrix: Matrix, plan: Plan, store: Store, *, each_job: bool) -> None:
    """Prints one row per stage and component, or per job, and the total."""
    job = next(iter(plan.jobs.values()))
    machine = device_name(torch.device(job.device), job.engine)
    history = History(store, machine, job.digests[0])
    console = Console(highlight=False)
    console.print(_jobs(plan, history) if each_job else _summary(plan, history))
    for reason in dict.fromkeys(reason for _, reason in plan.skipped):
        cells = sum(why == reason for _, why in plan.skipped)
        console.print(f"skipped, {cells} cells: {reason}", style="yellow", markup=False, soft_wrap=True)
    if matrix.from_dataset:
        text = f"for this data set (preset {matrix.preset} or file): {', '.join(matrix.from_dataset)}"
        console.print(text, markup=False, soft_wrap=True)
    waiting = sum(len(plan.pending(stage)) for stage in STAGES)
    console.print(
        f"{len(plan.cells)} cells ({len(matrix.attacks)} attacks x {len(matrix.defenses)} defenses x "
        f"{len(matrix.victims)} victims x {len(matrix.seeds)} seeds), {len(plan.jobs)} jobs, "
        f"{waiting} to run on {machine}: {Clock(plan, history).text()}",
        soft_wrap=True,
    )


def _summary(plan: Plan, history: History) -> Table:
    """Numbers of jobs by stage and component, with the time of those that have to run."""
    table = Table("stage", "component", "jobs", "cached", "to run", "time", box=None, pad_edge=False)
    for number in (2, 3, 4, 5):
        table.columns[number].justify = "right"
    for stage, component, jobs in _groups(plan):
        waiting = [job for job in jobs if plan.states[job.key] != "valid"]
        cached = len(jobs) - len(waiting)
        counts = (str(count or "-") for count in (len(jobs), cached, len(waiting)))
        table.add_row(stage, component, *counts, _time(waiting, history))
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


def _time(jobs: Sequence[Job], history: History) -> str:
    """The jobs' time together; how many of them were never timed here."""
    seconds = [history.seconds(job) for job in jobs]
    known = [value for value in seconds if value is not None]
    if not jobs:
        return "-"
    if len(known) < len(jobs):
        return "not timed yet"
    return duration(sum(known))


def _jobs(plan: Plan, history: History) -> Table:
    table = Table("stage", "job", "state", "time", box=None, pad_edge=False)
    for stage in STAGES:
        for job in (job for job in plan.jobs.values() if job.stage == stage):
            state = plan.states[job.key]
            waiting = [] if state == "valid" else [job]
            table.add_row(stage, title(job, plan), _STATES[state], _time(waiting, history))
    return table
