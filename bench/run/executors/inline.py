"""Runs every job in this process, one after the other: debugging, the demo, a single GPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from bench.errors import UserError
from bench.registry import executors
from bench.run.executors import Reports, Watcher
from bench.run.schedule import Schedule
from bench.stages.execute import execute
from bench.stages.session import Session


@executors.register("inline")
@dataclass(frozen=True)
class Inline:
    """In this process, one job at a time; costs are measured on an otherwise idle device."""

    slots = 1
    threads = None

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Yields each report as its job ends.

        Raises:
            UserError: with a stage timeout: a job in this process cannot be killed.
        """
        if session.stage_timeout:
            raise UserError(
                "--stage-timeout needs jobs in processes of their own, which can be killed: add --executor local "
                "(one process per GPU), local:gpus=none:cpus=1 or submitit"
            )
        return self._reports(jobs, session, watcher)

    def _reports(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        while job := jobs.take():
            watcher.started(job)
            yield execute(job, session, functools.partial(watcher.advanced, job))
