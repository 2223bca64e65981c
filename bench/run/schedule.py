"""The order of jobs: a job is ready when its inputs exist, and the one with the longest path ahead of it goes first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from graphlib import TopologicalSorter

from bench.stages.jobs import Job

Seconds = Callable[[Job], float]


class Schedule:
    """The jobs that have to run, each given out once; an executor takes them, the runner says how they ended.

    Args:
        jobs: with different keys. Inputs that are not among them exist already.
        seconds: expected time of a job. The path of a job is its own time and that of the longest chain of jobs that
            wait for it. Of equal paths the first in `jobs` goes first.

    Attributes:
        jobs: all of them by key, also those that have ended.
    """

    def __init__(self, jobs: Iterable[Job], seconds: Seconds = lambda job: 1.0) -> None:
        self.jobs = {job.key: job for job in jobs}
        self._waits_for = {
            key: {needed for needed in job.inputs.values() if needed in self.jobs} for key, job in self.jobs.items()
        }
        self._dependents: dict[str, list[str]] = {key: [] for key in self.jobs}
        for key, inputs in self._waits_for.items():
            for needed in inputs:
                self._dependents[needed].append(key)
        self._path: dict[str, float] = {}
        for key in reversed([*TopologicalSorter(self._waits_for).static_order()]):
            ahead = max((self._path[dependent] for dependent in self._dependents[key]), default=0.0)
            self._path[key] = seconds(self.jobs[key]) + ahead
        self._order = {key: number for number, key in enumerate(self.jobs)}
        self._ready = [self._ranked(key) for key, inputs in self._waits_for.items() if not inputs]
        heapq.heapify(self._ready)
        self._lost: set[str] = set()

    def take(self, suits: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """The next job that can start now, of those that suit; None if there is none before another one ends."""
        others = []
        found = None
        while found is None and self._ready:
            ranked = heapq.heappop(self._ready)
            if suits(self.jobs[ranked[2]]):
                found = self.jobs[ranked[2]]
            else:
                others.append(ranked)
        for ranked in others:
            heapq.heappush(self._ready, ranked)
        return found

    def give_back(self, job: Job) -> None:
        """The job was taken and has not begun: it is ready again."""
        heapq.heappush(self._ready, self._ranked(job.key))

    def done(self, key: str) -> None:
        """The job's artifact exists: jobs that waited for nothing else are ready."""
        for dependent in self._dependents[key]:
            self._waits_for[dependent].discard(key)
            if not self._waits_for[dependent]:
                heapq.heappush(self._ready, self._ranked(dependent))

    def failed(self, key: str) -> list[Job]:
        """The job has no artifact: the jobs that need it, which now never become ready and were not lost before."""
        found: set[str] = set()
        left = [key]
        while left:
            new = set(self._dependents[left.pop()]) - found - self._lost
            found |= new
            left += new
        self._lost |= found
        return [job for job in self.jobs.values() if job.key in found]

    def _ranked(self, key: str) -> tuple[float, int, str]:
        return -self._path[key], self._order[key], key


def run_virtually(
    schedule: Schedule, seconds: Seconds, workers: int, fails: Callable[[Job], bool] = lambda job: False
) -> Iterator[tuple[float, float, Job]]:
    """(start, end, job) as the jobs end, on workers that take the next ready job as soon as they are free."""
    now = 0.0
    running: list[tuple[float, int, float, Job]] = []
    numbers = itertools.count()
    while True:
        while len(running) < workers and (job := schedule.take()):
            heapq.heappush(running, (now + seconds(job), next(numbers), now, job))
        if not running:
            return
        now, _, started, job = heapq.heappop(running)
        if fails(job):
            schedule.failed(job.key)
        else:
            schedule.done(job.key)
        yield started, now, job


def makespan(jobs: Iterable[Job], seconds: Seconds, workers: int) -> float:
    """Seconds until the last job ends, in the order of the schedule."""
    return max(end for _, end, _ in run_virtually(Schedule(jobs, seconds), seconds, workers))
