"""Ways for jobs to reach a device: in this process, in processes of their own (also on Slurm), on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from bench.stages.jobs import Job, Report
from bench.stages.session import Session


class Watcher(Protocol):
    """Receiver of progress: the display."""

    def started(self, job: Job) -> None:
        """A job begins (or is handed to the cluster)."""
        ...

    def advanced(self, done: int, total: int, note: str) -> None:
        """The running job's progress; only from executors that run in this process."""
        ...


class Executor(Protocol):
    """Maps jobs to reports, in any order; all keys differ, so nothing needs a lock. A frozen dataclass."""

    def run(self, jobs: Sequence[Job], session: Session, watcher: Watcher) -> Iterator[Report]:
        """Yields a report for every job; tensors travel through the store only."""
        ...
