"""Ways for jobs to reach a device: in this process, in processes of their own (also on Slurm), on a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from bench.run.schedule import Schedule
from bench.stages.jobs import Job, Report
from bench.stages.session import Session

Reports = Generator[Report, None, None]
NO_LIMIT = 1_000_000
"""Slots of an executor that does not know yet how many jobs can run at a time."""


class Watcher(Protocol):
    """Receiver of progress: the display."""

    def started(self, job: Job) -> None:
        """A job begins (or is handed to the cluster)."""
        ...

    def advanced(self, job: Job, done: int, total: int, note: str) -> None:
        """A running job's progress, from executors that hear of it."""
        ...

    def told(self, text: str) -> None:
        """A line for the person who waits; the same text counts once."""
        ...


class Executor(Protocol):
    """Takes jobs and gives reports, in any order; tensors travel through the store only. A frozen dataclass.

    Attributes:
        slots: jobs at a time, at most; with more than one the order of jobs follows their expected seconds.
        elsewhere: jobs run on other machines, whose devices this process does not see.
        threads: CPU threads of a job if the user does not say; None leaves PyTorch's number.
    """

    @property
    def slots(self) -> int: ...

    @property
    def elsewhere(self) -> bool: ...

    @property
    def threads(self) -> int | None: ...

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Yields a report for every job that it takes, until `jobs.take()` is None while none of them runs.

        The runner tells the schedule of a report before it asks for the next one, so `jobs.take()` after a `yield`
        gives the jobs that became ready. All keys differ, so nothing needs a lock. A generator that is closed (after
        Ctrl-C) stops the jobs that run.

        Raises:
            UserError: at the call, before any work, if it cannot run jobs here.
        """
        ...
