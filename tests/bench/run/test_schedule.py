"""The schedule: inputs first, every job once, failures lose what needs them, and no worker waits without reason."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.run.schedule import Schedule, makespan, run_virtually
from bench.stages.jobs import Job
from tests.benchmarks.makespan import PaperMatrix, in_plan_order, in_waves, lower_bound

SECONDS = st.floats(0, 100)


def job(key: str, *inputs: str) -> Job:
    return Job("train", key, {}, key, "", 0, {name: name for name in inputs})


@st.composite
def graphs(draw) -> tuple[list[Job], dict[str, float]]:
    """Jobs, each with some of the earlier ones as inputs, and their seconds."""
    count = draw(st.integers(1, 12))
    jobs = [
        job(str(number), *draw(st.sets(st.sampled_from([str(n) for n in range(number)])) if number else st.just(())))
        for number in range(count)
    ]
    return jobs, {each.key: draw(SECONDS) for each in jobs}


@given(graphs(), st.integers(1, 5))
def test_every_job_runs_once_after_its_inputs_and_within_twice_the_bound(graph, workers):
    jobs, seconds = graph
    ran = list(run_virtually(Schedule(jobs, lambda j: seconds[j.key]), lambda j: seconds[j.key], workers))
    assert sorted(each.key for _, _, each in ran) == sorted(each.key for each in jobs)
    ends = {each.key: end for _, end, each in ran}
    for start, _, each in ran:
        assert all(start >= ends[needed] for needed in each.inputs)
    for moment in ends.values():
        assert sum(start < moment <= end for start, end, _ in ran) <= workers
    bound = lower_bound(jobs, lambda j: seconds[j.key], workers)
    assert bound * (1 - 1e-9) <= max(ends.values()) <= 2 * bound + 1e-9, "Graham's bound of any order without idling"


@given(graphs(), st.integers(1, 5), st.data())
def test_a_failure_loses_what_needs_it_once_and_nothing_else(graph, workers, data):
    jobs, seconds = graph
    failing = data.draw(st.sets(st.sampled_from([each.key for each in jobs])))
    schedule = Schedule(jobs, lambda j: seconds[j.key])
    lost: list[str] = []
    tell = schedule.failed
    schedule.failed = lambda key: lost.extend(gone.key for gone in tell(key)) or []
    ended = run_virtually(schedule, lambda j: seconds[j.key], workers, lambda j: j.key in failing)
    ran = [each.key for _, _, each in ended]
    bad: set[str] = set()
    for each in jobs:
        if any(needed in bad or needed in failing for needed in each.inputs):
            bad.add(each.key)
    assert sorted(lost) == sorted(bad)
    assert sorted(ran) == sorted({each.key for each in jobs} - bad)


def test_the_longest_path_goes_first_and_ties_keep_the_order_of_the_plan():
    jobs = [job("a"), job("b"), job("long"), job("after-b", "b"), job("c")]
    seconds = {"a": 1, "b": 1, "long": 5, "after-b": 2, "c": 1}
    schedule = Schedule(jobs, lambda each: seconds[each.key])
    assert [each.key for each in iter(schedule.take, None)] == ["long", "b", "a", "c"]
    alike = Schedule([job("x"), job("y"), job("after-y", "y"), job("z")])
    assert [each.key for each in iter(alike.take, None)] == ["y", "x", "z"], "without times every job counts as one"


def test_inputs_that_are_no_jobs_exist_already():
    schedule = Schedule([job("a", "in-the-store")])
    assert schedule.take().key == "a"
    assert schedule.take() is None


def test_a_choice_of_jobs_leaves_the_order_of_the_others():
    schedule = Schedule([job("a"), job("b"), job("c")])
    assert schedule.take(lambda each: each.key == "c").key == "c"
    assert schedule.take(lambda each: each.key == "c") is None
    assert [each.key for each in iter(schedule.take, None)] == ["a", "b"]


def test_without_times_one_worker_runs_stage_after_stage():
    jobs = PaperMatrix(seeds=2).jobs()
    ran = [each.key for _, _, each in run_virtually(Schedule(jobs.values()), lambda each: 1.0, 1)]
    assert ran == list(jobs)


@pytest.mark.parametrize(("workers", "seeds"), itertools.product((1, 4, 8, 64), (1, 3)))
def test_a_paper_matrix_takes_at_most_a_tenth_more_than_the_bound(workers, seeds):
    matrix = PaperMatrix(seeds=seeds)
    jobs = [*matrix.jobs().values()]
    ours, waves = makespan(jobs, matrix.seconds, workers), in_waves(jobs, matrix.seconds, workers)
    assert ours <= 1.1 * lower_bound(jobs, matrix.seconds, workers)
    assert ours <= in_plan_order(jobs, matrix.seconds, workers) <= waves
