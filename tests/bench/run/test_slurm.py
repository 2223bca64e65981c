"""Jobs in the queue of a real Slurm cluster, of one node: nothing is lost, and nothing runs twice without a reason."""

import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench import run_matrix
from bench.errors import UserError
from bench.run import remote, slurm
from bench.run.runner import Silent
from bench.run.slurm import squeue
from bench.stages.session import Session

from .one_node import missing, one_node
from .slurm_driver import job, reports
from .waiting import in_background, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with one_node(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def _on_it(cluster, monkeypatch, tmp_path):
    for name, value in {**cluster, "PYTHONPATH": str(ROOT), "HANGS": str(tmp_path / "hangs")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm, "_LAST_LOOK", 1.0)
    monkeypatch.setattr(slurm, "Stage", remote.Stage)  # `reports` replaces it


class Hears(Silent):
    def __init__(self):
        self.heard = []

    def told(self, text):
        self.heard.append(text)


def starts(path):
    """How often the job that waits for the file has begun."""
    begun = Path(f"{path}.begun")
    return len(begun.read_text().splitlines()) if begun.exists() else 0


def begins_soon(number):
    """A job that is queued again waits for two minutes; this one for the two seconds that Slurm needs."""
    wait_for(lambda: (number, "PENDING") in {row[:2] for row in squeue()})
    subprocess.run(["scontrol", "update", f"jobid={number}", "starttime=now+2"], check=True)


def in_queue():
    """Numbers of the jobs that wait or run."""
    return [number for number, state, _ in squeue() if state in ("PENDING", "RUNNING", "CONFIGURING")]


def test_jobs_run_and_one_that_is_cancelled_fails_alone(tmp_path):
    never = tmp_path / "never"
    with closing(reports(tmp_path, ["fine", f"until:{never}", "print"])) as ended:
        assert [next(ended).key, next(ended).key] == [job("fine").key, job("print").key]
        wait_for(lambda: starts(never))
        (number,) = wait_for(lambda: len(left := in_queue()) == 1 and left)
        subprocess.run(["scancel", number], check=True)
        (report,) = ended
    assert (report.status, report.error["kind"]) == ("failed", "ProcessLost")
    assert report.error["message"].startswith(f"Slurm job {number} ended without a result (state CANCELLED); its log: ")
    assert Path(report.error["message"].rpartition("log: ")[2]).exists()


def test_a_driver_that_is_killed_leaves_its_jobs_to_the_same_command(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    command = [sys.executable, str(ROOT / "tests/bench/run/slurm_driver.py"), str(tmp_path), f"until:{first}"]
    command.append(f"until:{second}")
    driver = subprocess.Popen(command)
    wait_for(lambda: starts(first) and starts(second))
    driver.kill()
    driver.wait()
    jobs = in_queue()
    assert len(jobs) == 2, "they go on"
    again = reports(tmp_path, [f"until:{first}", f"until:{second}"], watcher := Hears())
    first.touch()
    second.touch()
    assert [report.status for report in again] == ["done", "done"]
    assert (starts(first), starts(second)) == (1, 1)
    assert ["2 jobs of an earlier command" in text for text in watcher.heard] == [True]
    wait_for(lambda: not in_queue())


def test_a_job_that_is_preempted_begins_again(tmp_path):
    path = tmp_path / "go"
    with in_background(reports(tmp_path, [f"until:{path}"]), tmp_path) as got:
        wait_for(lambda: starts(path))
        urgent = subprocess.run(
            ["sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"],
            check=True, capture_output=True, text=True, cwd=tmp_path,
        ).stdout.strip()  # fmt: skip
        wait_for(lambda: urgent not in in_queue())
        (number,) = in_queue()
        begins_soon(number)
        wait_for(lambda: starts(path) == 2)
        path.touch()
    assert [report.status for report in got] == ["done"]


def test_a_job_at_its_time_limit_begins_again_once_and_then_fails(tmp_path):
    path = tmp_path / "never"
    with in_background(reports(tmp_path, [f"until:{path}"]), tmp_path) as got:
        wait_for(lambda: starts(path) == 1)
        (number,) = in_queue()
        almost_over = ["scancel", "--signal=USR2", number]  # as Slurm does shortly before the limit
        subprocess.run(almost_over, check=True)
        begins_soon(number)
        wait_for(lambda: starts(path) == 2)
        subprocess.run(almost_over, check=True)
    assert [(report.status, report.error["kind"]) for report in got] == [("failed", "TimeLimit")]
    assert "took longer than its limit of 5 minutes, twice; give it more with minutes=" in got[0].error["message"]


def test_a_real_stage_gives_the_accuracy_of_one_process(tmp_path):
    def accuracies(store, **options):
        frame = run_matrix(
            "none", "none", "linear:epochs=2", preset="demo", dataset="shapes:train=64:test=32",
            store=tmp_path / store, data_root=tmp_path, device="cpu", threads=1, **options,
        )  # fmt: skip
        return list(zip(frame["status"], frame["clean_test_accuracy"], strict=True))

    here = accuracies("here")
    shutil.copytree(tmp_path / "here", tmp_path / "there", ignore=shutil.ignore_patterns("train", "cells"))
    assert here == accuracies("there", executor="submitit:cluster=slurm:cpus=1:memory_gb=2")
    assert list((tmp_path / "there" / "logs" / "submitit").glob("*_result.pkl")), "Slurm ran the training"


def test_a_node_without_the_gpu_that_is_asked_for_is_left_out_and_no_other_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as ended:
        run_matrix(
            "none", "none", "linear:epochs=2", preset="demo", dataset="shapes:train=64:test=32", threads=1,
            store=tmp_path, data_root=tmp_path, device="cuda",
            executor="submitit:cluster=slurm:gpus=1:cpus=1:memory_gb=2",
        )  # fmt: skip
    assert "sbatch refused a job" in str(ended.value)
    assert f"the node {platform.node()} has no CUDA device; request one (submitit:" in str(ended.value)


def test_a_node_that_is_not_fit_is_left_out_while_jobs_are_in_the_queue(tmp_path, monkeypatch):
    """There is one node: the job is refused until the other one has ended, and then the command ends."""
    monkeypatch.setattr(slurm, "_AGAIN", 0.5)
    go, got = tmp_path / "go", []

    class HearsAndEnds(Hears):
        def told(self, text):
            super().told(text)
            go.touch()

    with pytest.raises(UserError, match=r"sbatch refused a job .*; node \S+ is left out: it has torch 1, this machine"):
        got.extend(reports(tmp_path, [f"until:{go}", "nowhere"], watcher := HearsAndEnds()))
    assert any("is left out: it has torch 1" in text for text in watcher.heard)
    assert [report.status for report in got] == ["done"]


def test_a_job_that_begins_no_log_names_the_store(tmp_path):
    queue = slurm.Queue(None, Session("shapes", ("", ""), tmp_path, tmp_path, "cpu"), 5)
    paths = SimpleNamespace(folder=tmp_path, stdout=tmp_path / "out", stderr=tmp_path / "err")
    lost = slurm._Running(job("fine"), SimpleNamespace(job_id="7", paths=paths))
    with pytest.raises(UserError, match=r"Slurm job 7 failed without a log in .*: does its node see the store"):
        queue._lost(lost, "FAILED")
    assert queue._lost(lost, "CANCELLED").error["kind"] == "ProcessLost"
    paths.stdout.touch()
    assert queue._lost(lost, "FAILED").error["kind"] == "ProcessLost"


def test_what_sbatch_says_is_passed_on(tmp_path):
    with pytest.raises(UserError, match=r"sbatch refused a job \(.*invalid partition.*\); change the parameters"):
        next(reports(tmp_path, ["fine"], partition="nowhere"))


def test_a_job_that_sbatch_refuses_for_now_is_submitted_again(tmp_path, monkeypatch):
    calls, go = tmp_path / "calls", tmp_path / "go"
    busy = tmp_path / "sbatch"
    busy.write_text(
        f"#!/bin/sh\necho >> {calls}\n"
        f"[ $(wc -l < {calls}) = 2 ] && echo 'Socket timed out' >&2 && exit 1\n"
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    busy.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm, "_AGAIN", 0.1)
    with in_background(reports(tmp_path, [f"until:{go}", "fine"], watcher := Hears()), tmp_path) as got:
        wait_for(lambda: got)
        go.touch()
    assert [report.status for report in got] == ["done"] * 2
    (line,) = watcher.heard
    assert re.fullmatch(r"sbatch refused a job \(.*Socket timed out.*\); it is tried again every 0.1 s while .*", line)
    assert len(calls.read_text().splitlines()) == 3


def test_a_controller_that_is_silent_is_a_line_before_any_work(tmp_path, monkeypatch):
    silent = tmp_path / "squeue"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(UserError, match="squeue gives no answer; is the Slurm controller up"):
        reports(tmp_path, ["fine"])
