"""Runs every job in this process, one after the other: debugging, the demo, a single GPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass

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

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Yields each report as its job ends."""
        while job := jobs.take():
            watcher.started(job)
            yield execute(job, session, functools.partial(watcher.advanced, job))
