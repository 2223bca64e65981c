"""Hours of a paper matrix on several workers, in virtual time; the clock times the schedule alone."""

from bench.run.schedule import makespan

from .makespan import HOUR, PaperMatrix, in_plan_order, in_waves, lower_bound
from .ratio import Run


def bench_makespan_1(run: Run) -> None:
    """Schedule of a paper matrix, 1 worker."""
    _scheduled(run, 1)


def bench_makespan_4(run: Run) -> None:
    """Schedule of a paper matrix, 4 workers."""
    _scheduled(run, 4)


def bench_makespan_8(run: Run) -> None:
    """Schedule of a paper matrix, 8 workers."""
    _scheduled(run, 8)


def bench_makespan_64(run: Run) -> None:
    """Schedule of a paper matrix, 64 workers."""
    _scheduled(run, 64)


def _scheduled(run: Run, workers: int) -> None:
    matrix = PaperMatrix(seeds=run.size(full=3, tiny=1))
    jobs = [*matrix.jobs().values()]
    ways = (in_waves, in_plan_order, makespan, lower_bound)
    waves, plain, ours, bound = (way(jobs, matrix.seconds, workers) / HOUR for way in ways)
    note = (
        f"{len(jobs)} jobs: waves {waves:.2f} h, plan order {plain:.2f} h, ours {ours:.2f} h, lower bound {bound:.2f} h"
    )
    run.seconds(lambda: makespan(jobs, matrix.seconds, workers), at_most=1.0, note=note)
