"""Worker processes: fed and not started again, restarted after a crash, stopped when late, ended with their driver."""

import multiprocessing
import re
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest

from bench.errors import UserError
from bench.run import worker
from bench.run.remote import execute_text
from bench.run.runner import Silent
from bench.run.schedule import Schedule
from bench.run.worker import Worker, run_jobs
from bench.stages.jobs import Job
from bench.stages.session import Session

from .waiting import wait_for as wait

wait_for = partial(wait, seconds=30, pause=0.01)
PROGRAM = [str(Path(__file__).with_name("stages_without_torch.py"))]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "PROGRAM", PROGRAM)
    monkeypatch.setenv("HANGS", str(tmp_path / "hangs"))


def session_in(folder, stage_timeout=None, device="cpu"):
    return Session("shapes", ("", ""), folder, folder, device, stage_timeout=stage_timeout)


def job(component: str, number: int = 0) -> Job:
    return Job("train", f"{component} {number}", {}, component, "", 0, {})


def run(folder, components, gpus=("",), watcher=None, **options):
    """Reports by component, in the order in which the jobs ended; one process for each state of a GPU."""
    workers = [Worker(number, session_in(folder, **options), {"GPU": gpu}) for number, gpu in enumerate(gpus)]
    jobs = [job(component, number) for number, component in enumerate(components)]
    return [(report.key.rsplit(" ", 1)[0], report) for report in run_jobs(workers, Schedule(jobs), watcher or Silent())]


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_processes_are_started_once_and_their_prints_disturb_nothing(tmp_path):
    reports = [report for _, report in run(tmp_path, ["print", *["fine"] * 7], ["", ""])]
    assert [report.status for report in reports] == ["done"] * 8
    assert len({pid for report in reports for pid in report.warnings}) == 2
    (log,) = (tmp_path / "logs" / "workers").iterdir()
    assert log.read_text() == "{not a message}\n", "the other process printed nothing and has no log"


@pytest.mark.parametrize(
    ("component", "said", "logged"),
    [
        ("kill", r"the process ended without a result \(signal 9: killed\? out of memory\?\)", ""),
        ("crash", r"the process ended without a result \(signal 11: Segmentation fault\)", "in execute"),
        ("exit", r"the process ended without a result \(exit status 3\)", ""),
    ],
)
def test_a_crash_fails_its_job_and_the_next_one_runs_in_a_new_process(tmp_path, component, said, logged):
    before, crashed, after = run(tmp_path, ["fine", component, "fine"])
    assert (crashed[0], crashed[1].status, crashed[1].error["kind"]) == (component, "failed", "ProcessLost")
    message, _, log = crashed[1].error["message"].partition("; its log: ")
    assert re.fullmatch(said, message)
    written = Path(log).read_text()
    assert logged in written
    assert written.splitlines()[-1] == f"train {component} 1 ({component}): {message}"
    assert after[1].status == "done"
    assert before[1].warnings.keys() != after[1].warnings.keys()


def test_what_a_process_started_ends_with_it(tmp_path):
    child = tmp_path / "child"
    (_, report), _ = run(tmp_path, [f"orphan:{child}", "fine"])
    assert report.status == "failed"
    wait_for(lambda: ended(int(child.read_text())))


def test_a_gpu_that_does_not_work_is_left_out_and_its_job_goes_to_another(tmp_path):
    reports = [report for _, report in run(tmp_path, ["fine"] * 4, ["busy", ""], device="cuda")]
    assert [report.status for report in reports] == ["done"] * 4
    said = "process 0 GPU=busy is left out: its GPU does not work (busy)"
    assert said in {text for report in reports for text in report.warnings}
    assert len({text for report in reports for text in report.warnings}) == 2, "and one process ran all of them"


def test_without_a_gpu_that_works_the_run_ends(tmp_path):
    with pytest.raises(UserError, match=r"process . GPU=\w+ is left out.*; process . GPU=\w+ is left out"):
        run(tmp_path, ["fine"] * 4, ["busy", "gone"], device="cuda")


def test_a_job_that_breaks_the_gpu_for_its_process_fails_alone(tmp_path):
    before, broke, after = run(tmp_path, ["fine", "break", "fine"], device="cuda")
    assert [report.status for _, report in (before, broke, after)] == ["done", "failed", "done"]
    assert before[1].warnings == broke[1].warnings != after[1].warnings


def test_an_error_outside_of_the_stage_is_the_jobs(tmp_path):
    (failed, fine) = (report for _, report in run(tmp_path, ["raise", "fine"]))
    assert failed.error["message"] == "/somewhere: No space left on device; free some disk space"
    assert fine.status == "done"


def test_a_job_that_hangs_is_stopped_with_its_last_progress_and_its_place(tmp_path):
    hangs, fine = (report for _, report in run(tmp_path, [f"hang:{tmp_path}/x", "fine"], stage_timeout=0.3))
    assert (hangs.status, hangs.error["kind"]) == ("failed", "StageTimeout")
    said, _, log = hangs.error["message"].partition("; its log: ")
    assert said == ("the job was stopped (longer than the stage timeout of 0.3 s; last progress: 3 of 60, epoch 3)")
    assert "in hang" in Path(log).read_text()
    assert hangs.seconds >= 0.3
    assert fine.status == "done"


def test_what_a_job_loads_does_not_count_to_its_time(tmp_path, monkeypatch):
    workers = [Worker(0, session_in(tmp_path, 0.1))]
    reports = run_jobs(workers, Schedule([job("load:0.2"), job("load:600")]), Silent())
    assert next(reports).status == "done"
    monkeypatch.setattr(worker, "_START", 0.2)
    (stopped,) = reports
    assert "the job was stopped (its libraries and data were not loaded within 0.2 s; no" in stopped.error["message"]


def test_a_gpu_that_hangs_when_its_process_starts_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_START", 0.2)
    with pytest.raises(UserError, match=r"GPU=hangs is left out: its process did not start within 0.2 s; its log: "):
        run(tmp_path, ["fine"], ["hangs"], device="cuda")


def test_a_job_of_a_cluster_is_stopped_too(tmp_path):
    session = session_in(tmp_path, stage_timeout=0.2).to_json()
    assert "StageTimeout" in execute_text(job(f"hang:{tmp_path}/x").to_json(), session)


def test_progress_says_whose_it_is(tmp_path):
    heard = []

    class Hears(Silent):
        def advanced(self, job, *progress):
            heard.append((job.component, *progress))

    run(tmp_path, [f"hang:{tmp_path}/x"], watcher=Hears(), stage_timeout=0.2)
    assert heard == [(f"hang:{tmp_path}/x", 3, 60, "epoch 3")]


def test_closing_ends_the_processes_and_lets_them_clean_up(tmp_path):
    workers = [Worker(number, session_in(tmp_path)) for number in range(2)]
    cleaned = tmp_path / "cleaned"
    jobs = Schedule([job(f"hang:{cleaned}"), job("fine")])
    with closing(run_jobs(workers, jobs, Silent())) as reports:
        assert next(reports).key == "fine 0"
        wait_for((tmp_path / "hangs").exists)
    assert ended(int(wait_for((tmp_path / "hangs").read_text)))
    assert cleaned.read_text() == "cleaned up"


def test_a_driver_that_is_killed_takes_its_processes_along(tmp_path):
    driver = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path, [f"hang:{tmp_path}/x"]))
    driver.start()
    pid = int(wait_for(lambda: (tmp_path / "hangs").is_file() and (tmp_path / "hangs").read_text()))
    driver.kill()
    driver.join()
    wait_for(lambda: ended(pid))
