"""A login node without a GPU plans for the GPUs of the nodes, and a node without one says so."""

import platform
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bench import run_matrix
from bench.api import engine
from bench.errors import UserError
from bench.plan.history import History
from bench.run.prepare import Options, choose_executor, more_gpus, prepared
from bench.run.remote import execute_text
from bench.select.settings import Settings
from bench.stages.jobs import Report
from bench.store.artifacts import Store

WORDS = {"preset": "demo", "dataset": "shapes:train=64:test=32", "attacks": "lsp", "defenses": "iss-gray"}
SETTINGS = Settings(**WORDS, victims="linear:epochs=1")


@pytest.fixture
def login(monkeypatch):
    """torch sees no GPU, and nothing may ask for more than that."""

    def touched(*_):
        raise AssertionError("a device of this machine was asked")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name in ("get_device_name", "is_bf16_supported", "mem_get_info"):
        monkeypatch.setattr(torch.cuda, name, touched)


@pytest.fixture
def plan(tmp_path):
    """`plan(device="cuda", elsewhere=True)`: a plan; nothing runs."""

    def make(settings=SETTINGS, **options):
        with prepared([settings], Options(tmp_path / "store", tmp_path, **options), runs=False) as ready:
            return ready.plan

    return make


def keys(plan):
    return set(plan.jobs), [cell.key for cell in plan.cells]


def test_the_keys_are_those_of_a_node_with_a_gpu(login, plan, monkeypatch):
    there, precise = (plan(device="cuda", elsewhere=True, precision=word) for word in ("auto", "float32"))
    assert (there.session.device, there.session.engine.mode) == ("cuda", "auto")
    on_cpu = plan(device="cpu", elsewhere=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(engine, "has_bfloat16", lambda device: True)
    assert keys(there) == keys(plan(device="cuda")) == keys(plan(device="auto"))
    assert not set(there.jobs) & set(on_cpu.jobs)
    assert keys(precise) == keys(on_cpu), "both are float32"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (
            "auto",
            "other machines, and this one has no GPU to go by; give --device cuda if those have GPUs, or --device",
        ),
        ("cuda:1", "'cuda:1': each job on another machine has GPUs of its own; give --device cuda"),
        ("mps", "'mps' is not supported"),
    ],
)
def test_what_is_not_clear_is_refused_before_any_work(login, plan, device, message):
    with pytest.raises(UserError, match=message):
        plan(device=device, elsewhere=True)


def test_a_gpu_that_jobs_of_this_machine_lack_is_refused(login, plan):
    with pytest.raises(UserError, match="torch sees 0 CUDA devices"):
        plan(device="cuda")
    assert plan(device="auto").session.device == "cpu"


def test_executors_know_where_their_jobs_run(plan, monkeypatch):
    found = {
        text: choose_executor(text).elsewhere
        for text in ("inline", "local", "submitit", "submitit:cluster=slurm:partition=gpu", "ray", "ray:address=local")
    }
    assert list(found.values()) == [False, False, False, True, True, False]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    there = plan(device="cuda", elsewhere=True)
    assert not more_gpus(there, choose_executor("submitit:cluster=slurm"))
    with pytest.raises(UserError, match="partition=gpu needs cluster=slurm: submitit:cluster=slurm:partition="):
        choose_executor("submitit:partition=gpu")


def test_a_node_without_a_gpu_fails_its_job_with_one_line(login, plan, tmp_path):
    there = plan(device="cuda", elsewhere=True)
    Store(tmp_path / "store")
    job = next(job for job in there.jobs.values() if job.component.startswith("lsp"))
    report = Report.from_json(execute_text(job.to_json(), there.session.to_json()))
    assert report.status == "failed"
    assert report.error["message"] == (
        f"--device cuda: the node {platform.node()} has no CUDA device; request one "
        "(submitit:cluster=slurm:gpus=1, a partition with GPUs, ray:gpus=1), or give --device cpu"
    )
    assert Store(tmp_path / "store").state("poison", job.key) == "absent"


def test_the_memory_of_the_machine_that_runs_the_job_counts(login, plan, tmp_path, monkeypatch):
    memory = SimpleNamespace(total=10**6)
    monkeypatch.setattr("bench.training.surrogates.crafting.psutil.virtual_memory", lambda: memory)
    em = replace(SETTINGS, attacks="em")
    problem = f"2 x float32 noise for 64 images: 0.0 GiB of host memory, the machine {platform.node()} has 0.0 GiB"
    with pytest.raises(UserError, match=problem):
        plan(em, device="cpu")
    there = plan(em, device="cpu", elsewhere=True)
    Store(tmp_path / "store")
    job = next(job for job in there.jobs.values() if job.component.startswith("em"))
    report = Report.from_json(execute_text(job.to_json(), there.session.to_json()))
    assert (report.status, report.error["kind"]) == ("failed", "MachineError")
    assert problem in report.error["message"]


def test_a_node_whose_gpu_has_no_bfloat16_names_float32(login, plan, monkeypatch):
    there = plan(device="cuda", elsewhere=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(engine, "has_bfloat16", lambda device: False)
    with pytest.raises(UserError, match=r"\(Tesla V100\) does not compute in bfloat16; use --precision float32"):
        there.session.check_device()
    replace(there.session, engine=replace(there.session.engine, precision="float32")).check_device()


def test_times_of_the_nodes_count_whatever_their_processors_are_named(login, plan, tmp_path):
    run_matrix(
        **WORDS, victims="linear:epochs=1", store=tmp_path / "store", data_root=tmp_path, device="cpu", threads=1
    )
    on_cpu, on_gpu = (plan(device=device, elsewhere=True, precision="float32") for device in ("cpu", "cuda"))
    assert on_cpu.session.machine == "processors of other machines, float32"
    store = Store(tmp_path / "store")
    known = [History(store, each.session).seconds(job) for each in (on_cpu, on_gpu) for job in on_cpu.jobs.values()]
    assert [value is None for value in known] == [False] * len(on_cpu.jobs) + [True] * len(on_cpu.jobs)
    compiled = replace(on_cpu.session, engine=replace(on_cpu.session.engine, mode="compile"))
    assert not any(History(store, compiled).seconds(job) for job in on_cpu.jobs.values())
