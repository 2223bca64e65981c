"""Jobs that end the process of the command: tried twice, then left out once."""

import os
from pathlib import Path

import pytest

from bench.api.engine import Engine
from bench.errors import UserError
from bench.run.executors import inline
from bench.run.runner import Silent
from bench.run.schedule import Schedule
from bench.stages.jobs import Job, Report
from bench.stages.session import Session
from bench.store.artifacts import Store
from bench.store.running import ended_in, running

JOBS = [Job("purify", key, {}, f"defense-{key}", "", 0, {}) for key in ("first", "second")]


def dies_in(note: Path) -> None:
    """Another process ends inside the block, without a word."""
    child = os.fork()
    if child == 0:
        with running(note):
            os._exit(3)
    os.waitpid(child, 0)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def run(store, monkeypatch):
    """`run()` gives the status of every job and the keys that ran."""

    def call():
        ran = []

        def execute(job, session, on_progress):
            ran.append(job.key)
            return Report(job.key, job.stage, "done", 0.0)

        monkeypatch.setattr(inline, "execute", execute)
        session = Session("shapes", ("", ""), store.root, store.root, "cpu", Engine())
        schedule, reports = Schedule(JOBS), []
        for report in inline.Inline().run(schedule, session, Silent()):
            schedule.done(report.key)
            reports.append(report)
        return reports, ran

    return call


def test_a_job_that_ended_two_processes_is_left_out_once_and_the_rest_runs(run, store):
    note = store.running("purify", "first")
    dies_in(note)
    (line,) = inline.ended_before(JOBS, store)
    assert "ended while purify defense-first ran (killed, out of memory" in line
    dies_in(note)
    assert ended_in(note) == 2
    reports, ran = run()
    assert [(report.key, report.status) for report in reports] == [("first", "failed"), ("second", "done")]
    assert ran == ["second"]
    assert "ended 2 times in a row" in reports[0].error["message"]
    assert "--executor local" in reports[0].error["message"]
    assert run()[1] == ["first", "second"], "the same command tries it again"


def test_jobs_are_left_out_until_a_run_comes_to_its_end(run, store):
    for _ in range(2):
        dies_in(store.running("purify", "first"))
    reports = inline.Inline().run(
        Schedule(JOBS), Session("", ("", ""), store.root, store.root, "cpu", Engine()), Silent()
    )
    assert next(reports).status == "failed"
    reports.close()  # the process ends in the second job
    dies_in(store.running("purify", "second"))
    dies_in(store.running("purify", "second"))
    assert [report.status for report in run()[0]] == ["failed", "failed"]
    assert run()[1] == ["first", "second"]


def test_a_job_that_ended_one_process_runs_again_and_its_end_is_forgotten(run, store):
    dies_in(store.running("purify", "first"))
    assert run()[1] == ["first", "second"]
    dies_in(store.running("purify", "first"))
    assert ended_in(store.running("purify", "first")) == 1


def test_a_job_that_is_stopped_or_runs_elsewhere_has_ended_no_process(store):
    note = store.running("purify", "first")
    with pytest.raises(KeyboardInterrupt), running(note):
        raise KeyboardInterrupt
    assert not note.exists()
    with running(note):
        assert ended_in(note) == 0
        with running(note):
            pass
        assert note.exists()


def test_a_job_that_breaks_the_gpu_for_this_process_ends_the_run(store, monkeypatch):
    failed = Report("first", "purify", "failed", 0.0, {"message": "device-side assert"})
    monkeypatch.setattr(inline, "execute", lambda *job: failed)
    monkeypatch.setattr(inline, "fault", lambda device: "device-side assert")
    session = Session("shapes", ("", ""), store.root, store.root, "cuda", Engine())
    reports = inline.Inline().run(Schedule(JOBS), session, Silent())
    assert next(reports) is failed
    with pytest.raises(UserError, match=r"does no more work for this process .*; run the same command again"):
        next(reports)
    assert ended_in(store.running("purify", "first")) == 1, "after the second time it is left out"
