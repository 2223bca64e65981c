"""The live display on terminals of any width: what is counted and the time left stay, the title gives way."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench.run.progress import Clock, LiveProgress, PlainProgress
from bench.stages.jobs import Report


def named(text):
    return SimpleNamespace(text=text)


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_a_narrow_terminal_cuts_the_title_and_nothing_else(width):
    job = SimpleNamespace(key="k", stage="train", seed=0, preimage={"component": {"name": "small-cnn"}}, inputs={})
    cell = SimpleNamespace(
        jobs={"train": "k"},
        attack=named("em:eps=0.03:steps=20:craft_on=subset"),
        defense=named("dvae:kld=1.5:epochs=60"),
        victim=named("small-cnn:epochs=20"),
    )
    plan = SimpleNamespace(cells=28 * [cell], pending=lambda: [job])
    out = io.StringIO()
    console = Console(file=out, width=width, height=30, force_terminal=True, color_system=None)
    with LiveProgress(console, SimpleNamespace(seconds=lambda job: 7500.0)) as display:
        display.planned(plan, 1)
        display.started(job)
        display.advanced(job, 7, 60, "loss 0.53")
        display._progress.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    matrix, running = [line.rstrip() for line in shown.splitlines() if "/" in line][-2:]
    for part in ("0/1", "1 job left, about 2 h 05 min"):
        assert part in matrix
    for part in ("7/60", "loss 0.53"):
        assert part in running
    assert "…" in running, "the title alone is cut"
    assert max(map(len, (matrix, running))) <= width


def test_every_running_job_has_a_line_of_its_own():
    jobs = [
        SimpleNamespace(key=str(n), stage="train", seed=n, preimage={"component": {"name": "linear"}}, inputs={})
        for n in range(3)
    ]
    cells = [
        SimpleNamespace(jobs={"train": job.key}, attack=named("ops"), defense=named("iss"), victim=named("linear"))
        for job in jobs
    ]
    plan = SimpleNamespace(cells=cells, pending=lambda: jobs)
    console = Console(file=io.StringIO(), width=120, height=30, force_terminal=True)
    with LiveProgress(console, SimpleNamespace(seconds=lambda job: 60.0)) as display:
        display.planned(plan, 2)
        for job in jobs[:2]:
            display.started(job)
        display.advanced(jobs[1], 7, 60, "")
        display.advanced(jobs[0], 3, 60, "")
        display.ended(jobs[0], Report("0", "train", "done", 60.0))
        display.started(jobs[2])
        tasks = display._progress.tasks
    assert [(task.description[-6:], task.completed) for task in tasks[1:]] == [("seed 1", 7), ("seed 2", 0)]
    assert tasks[0].fields["note"] == "2 jobs left, about 1 min 00 s", "two at a time"


def test_the_time_left_is_at_least_that_of_the_longest_chain():
    inputs = [{}, {"poison": "0"}, {"poison": "0", "purify": "1"}, {}]
    component = {"component": {"name": "x"}}
    jobs = [
        SimpleNamespace(key=str(n), stage="train", preimage=component, inputs=each) for n, each in enumerate(inputs)
    ]
    plan = SimpleNamespace(pending=lambda: jobs)
    history = SimpleNamespace(seconds=lambda job: 10.0)
    assert [Clock(plan, history, slots).remaining() for slots in (1, 8)] == [40.0, 30.0]


def test_jobs_that_will_not_run_are_counted_and_not_waited_for():
    jobs = [
        SimpleNamespace(key=str(n), stage="train", seed=n, preimage={"component": {"name": "x"}}, inputs={})
        for n in range(4)
    ]
    cell = SimpleNamespace(jobs={"train": "0"}, attack=named("ops"), defense=named("iss"), victim=named("linear"))
    out = io.StringIO()
    display = PlainProgress(Console(file=out, width=200), SimpleNamespace(seconds=lambda job: 10.0))
    display.planned(SimpleNamespace(cells=[cell], pending=lambda: jobs), 1)
    display.ended(jobs[0], Report("0", "train", "failed", 1.0, {"kind": "E", "message": "m"}), jobs[1:3])
    assert "[3/4] " in out.getvalue()
    assert "FAILED (E: m), 1.0 s; 2 jobs that need it will not run; 1 job left, about" in out.getvalue()


def test_a_line_for_the_person_who_waits_is_printed_once():
    out = io.StringIO()
    display = PlainProgress(Console(file=out, width=40), SimpleNamespace())
    display.told("sbatch refused a job; it is tried again every 60 s")
    display.told("sbatch refused a job; it is tried again every 60 s")
    assert out.getvalue() == "sbatch refused a job; it is tried again every 60 s\n"
