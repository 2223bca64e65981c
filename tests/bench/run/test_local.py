"""The executor `local`: which GPUs are meant, what each process gets, and a clear line where that is impossible."""

import os
from dataclasses import replace

import pytest
import torch

from bench.errors import UserError
from bench.run.executors import local, submitit
from bench.run.executors.inline import Inline
from bench.run.executors.local import Local
from bench.run.prepare import Options, choose_executor, more_gpus, prepared
from bench.run.runner import Silent
from bench.run.schedule import Schedule
from bench.select.settings import Settings
from bench.stages.session import Session


@pytest.fixture
def gpus(monkeypatch):
    """`gpus(4)`: torch sees so many."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.fixture
def given(monkeypatch, tmp_path):
    """`given(executor, device)`: the session, the environment and the processors of each of its processes."""
    found = []
    monkeypatch.setattr(local, "Worker", lambda number, *rest: found.append(rest))
    monkeypatch.setattr(local, "run_jobs", lambda workers, jobs, watcher: found)

    def call(text, device="cuda"):
        found.clear()
        session = Session("shapes", ("", ""), tmp_path, tmp_path, device)
        return [*choose_executor(text).run(Schedule([]), session, Silent())]

    return call


@pytest.mark.parametrize(
    ("text", "there", "devices"),
    [
        ("local", 3, "0 1 2"),
        ("local:gpus=all", 1, "0"),
        ("local:gpus=2", 3, "0 1"),
        ("local:gpus=0,2", 3, "0 2"),
        ("local:gpus=2+0", 3, "2 0"),
        ('local:gpus="0,2"', 3, "0 2"),
        ("local:gpus=1,", 3, "1"),
        ("local:gpus=0,", 3, "0"),
        ("local:gpus=2:per_gpu=2", 2, "0 1 0 1"),
    ],
)
def test_each_process_sees_one_gpu(gpus, given, text, there, devices):
    gpus(there)
    environments = [environment["CUDA_VISIBLE_DEVICES"] for _, environment, _ in given(text)]
    assert environments == devices.split()
    assert choose_executor(text).slots == len(environments)


@pytest.mark.parametrize("text", ["local:gpus=none:cpus=2", "local:gpus=0:cpus=2"])
def test_without_a_gpu_each_process_sees_none(gpus, given, text):
    gpus(4)
    found = given(text, "cpu")
    assert [environment for _, environment, *_ in found] == [{"CUDA_VISIBLE_DEVICES": ""}] * 2
    assert all(session.shared for session, *_ in found), "they use the same processors"
    assert not given("local:gpus=none:cpus=1", "cpu")[0][0].shared


def test_processes_of_submitit_see_the_gpus_of_the_command(given, monkeypatch):
    monkeypatch.setattr(submitit, "Worker", lambda number, *rest: rest)
    monkeypatch.setattr(submitit, "run_jobs", lambda workers, jobs, watcher: workers)
    assert [(session.device, session.shared) for (session,) in given("submitit:parallel=2")] == [("cuda", True)] * 2
    assert [session.stage_timeout for (session,) in given("submitit:minutes=3")] == [180]


def test_gpus_have_the_names_that_the_environment_gives_them(gpus, given, monkeypatch):
    gpus(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-8a")
    assert [environment["CUDA_VISIBLE_DEVICES"] for _, environment, _ in given("local:gpus=all")] == ["5", "GPU-8a"]


def test_processes_on_gpus_of_their_own_share_no_processor(gpus, given, monkeypatch):
    gpus(4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(10)), raising=False)
    found = given("local")
    shares = [set(share) for *_, share in found]
    assert [len(share) for share in shares] == [2] * 4 == [choose_executor("local").threads] * 4
    assert len(set().union(*shares)) == 8
    assert not any(session.shared for session, *_ in found)


def test_processes_that_share_a_gpu_or_the_processors_are_not_exclusive(gpus, given, monkeypatch):
    gpus(4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(10)), raising=False)
    assert all(session.shared for session, *_ in given("local:per_gpu=2"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    found = given("local")
    assert all(session.shared and share == [] for session, _, share in found)
    assert choose_executor("local").threads == 1


def test_costs_of_a_shared_device_are_not_exclusive(monkeypatch):
    from bench.measure.cost import CpuSeconds, Meter

    monkeypatch.setattr(CpuSeconds, "now", classmethod(lambda cls: cls(0.0, 0.0)))
    for shared in (False, True):
        with Meter(torch.device("cpu"), shared=shared) as meter:
            pass
        assert meter.cost().exclusive is not shared


@pytest.mark.parametrize(
    ("text", "there", "device", "message"),
    [
        ("local", 0, "cpu", "torch sees no GPU .*local:gpus=none:cpus=2 is two processes without one"),
        ("local:gpus=4", 2, "cuda", r"gpus=4: there is no GPU 2, 3; torch sees 2 \(0, 1\)"),
        ("local:gpus=0,7", 2, "cuda", "there is no GPU 7"),
        ("local:gpus=2", 2, "cpu", "gpus=2 contradicts --device cpu; leave --device out"),
        ("local:gpus=2", 2, "cuda:1", "contradicts --device cuda:1"),
        ("local:gpus=none:cpus=2", 2, "cuda", "the device is cuda; add --device cpu"),
    ],
)
def test_what_this_machine_does_not_have_is_refused_at_the_call(gpus, given, text, there, device, message):
    gpus(there)
    with pytest.raises(UserError, match=message):
        given(text, device)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local:gpus=0", "gpus=0 needs a number of processes on the processors: gpus=none:cpus=2"),
        ("local:gpus=none", "gpus=none needs a number"),
        ("local:cpus=2", "cpus=2 needs gpus=none"),
        ("local:gpus=0,0", "give all, none, a count .* or a list of different numbers"),
        ("local:gpus=first", "give all, none, a count"),
        ("local:gpus=-1", "give all, none, a count"),
        ("local:gpus=,", "give all, none, a count"),
        ("local:per_gpu=0", "per_gpu must be at least 1, got 0"),
        ("local,inline", "one executor at a time, got 'local,inline'"),
    ],
)
def test_words_that_mean_nothing_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        choose_executor(text)


def test_a_run_on_one_of_several_gpus_names_the_option(gpus, tmp_path):
    settings = Settings("demo", "shapes:train=64:test=32", "lsp", "iss-gray", "linear")
    with prepared([settings], Options(tmp_path / "store", tmp_path, device="cpu"), runs=False) as ready:
        plan = ready.plan
    on_gpu = replace(plan, session=replace(plan.session, device="cuda"))
    finished = replace(on_gpu, states=dict.fromkeys(plan.jobs, "valid"))
    gpus(3)
    assert "one of 3 GPUs is used; --executor local:gpus=all" in more_gpus(on_gpu, Inline())
    assert not any((more_gpus(plan, Inline()), more_gpus(finished, Inline()), more_gpus(on_gpu, Local())))
    gpus(1)
    assert not more_gpus(on_gpu, Inline())
