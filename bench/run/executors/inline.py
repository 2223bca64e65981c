"""Runs every job in this process, one after the other: debugging, the demo, a single GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.registry import executors
from bench.run.executors import Watcher
from bench.stages.execute import execute
from bench.stages.jobs import Job, Report
from bench.stages.session import Session


@executors.register("inline")
@dataclass(frozen=True)
class Inline:
    """In this process, one job at a time; costs are measured on an otherwise idle device."""

    def run(self, jobs: Sequence[Job], session: Session, watcher: Watcher) -> Iterator[Report]:
        """Yields each report as its job ends."""
        for job in jobs:
            watcher.started(job)
            yield execute(job, session, watcher.advanced)
