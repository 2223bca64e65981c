"""Runs every job in this process, one after the other: debugging, the demo, a single GPU.

A job that ends the process (a crash in C code, `os._exit`, no memory) ends the matrix. After the second time in a row
the next run records it as failed, without running it, and does the rest; the run after one that came to its end tries
it again. Once is not enough: a run that a person kills looks the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import UserError
from bench.registry import executors
from bench.run.devices import fault
from bench.run.executors import Reports, Watcher
from bench.run.schedule import Schedule
from bench.stages.execute import execute
from bench.stages.jobs import Job, Report
from bench.stages.session import Session
from bench.store.artifacts import Store
from bench.store.running import ended_in, running

_MOST_ENDS = 2  # of processes in a row, in the same job
_CAUSES = "killed, out of memory, or a crash in C code"


@executors.register("inline")
@dataclass(frozen=True)
class Inline:
    """In this process, one job at a time; costs are measured on an otherwise idle device."""

    slots = 1
    elsewhere = False
    threads = None

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Yields each report as its job ends.

        Raises:
            UserError: with a stage timeout: a job in this process cannot be killed.
        """
        if session.stage_timeout:
            raise UserError(
                "--stage-timeout needs jobs in processes of their own, which can be killed: add --executor local "
                "(one process per GPU), local:gpus=none:cpus=1, submitit or ray"
            )
        return self._reports(jobs, session, watcher)

    def _reports(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        store, left_out = Store(session.store), []
        while job := jobs.take():
            watcher.started(job)
            note = store.running(job.stage, job.key)
            if (ends := ended_in(note)) >= _MOST_ENDS:
                left_out.append(note)
                report = _not_again(job, ends)
            else:
                with running(note):
                    report = execute(job, session, functools.partial(watcher.advanced, job))
            yield report
            if report.status == "failed" and session.device.startswith("cuda") and (reason := fault(session.device)):
                note.write_text(str(ends + 1), encoding="utf-8")  # as if the process had ended in it
                raise UserError(
                    f"after this failure the GPU does no more work for this process ({reason}); run the same command "
                    "again, it continues (and leaves the job out after the second time), or add --executor local, "
                    "which starts a new process and goes on"
                )
        for note in left_out:  # not before: another job may still end this process
            note.unlink(missing_ok=True)


def _not_again(job: Job, ends: int) -> Report:
    message = (
        f"the process ended {ends} times in a row while this job ran ({_CAUSES}), so this run left it out; run the "
        "same command again to try it once more, or add --executor local (with a GPU) or local:gpus=none:cpus=1, "
        "which lose a process of their own and say with which signal"
    )
    error = {"stage": job.stage, "key": job.key, "kind": "ProcessLost", "message": message, "traceback": ""}
    return Report(job.key, job.stage, "failed", 0.0, error)


def ended_before(jobs: list[Job], store: Store) -> Iterator[str]:
    """A line for each job in which the process of the last run ended."""
    for job in jobs:
        ends = ended_in(store.running(job.stage, job.key))
        if 0 < ends < _MOST_ENDS:
            yield (
                f"the process of the last run ended while {job.stage} {job.component} ran ({_CAUSES}); it runs again, "
                "and if that happens again, the run after it records this job as failed and computes the rest"
            )
