"""Jobs on a Ray cluster of three nodes: lost workers and nodes cost nothing but the jobs that they ran."""

import json
import os
import re
import signal
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench import run_matrix
from bench.errors import UserError
from bench.run import devices
from bench.run.executors import ray as executor_ray
from bench.run.executors.ray import Ray
from bench.run.nodes import CORE, check_nodes, facts, marked, unfit, visit
from bench.run.prepare import choose_executor
from bench.run.runner import Silent
from bench.run.schedule import Schedule
from bench.stages.jobs import Job
from bench.stages.session import Session

from .quick_stage import ray_stage
from .waiting import in_background, wait_for

ROOT = Path(__file__).parents[3]
ray = pytest.importorskip("ray", reason="pip install 'purify-bench[ray]' for these tests")


@pytest.fixture(scope="module")
def cluster():
    """The head, where the driver is, and two nodes; one CPU each, and the last one pretends to have a GPU."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    made.add_node(**small, num_gpus=0)
    made.add_node(**small, num_gpus=1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a head has one of its own
    executor_ray._connect(ray, made.address)
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def reports(cluster, monkeypatch, tmp_path):
    """`reports(["until:FILE"], gpus=1)`: the generator of reports of made-up stages."""
    monkeypatch.setattr(executor_ray, "execute_in_ray", ray_stage)
    monkeypatch.setattr(executor_ray, "_LOOK", 0.5)

    def call(components, device="cpu", **parameters):
        session = Session("shapes", ("", ""), tmp_path, tmp_path, device)
        return Ray(**parameters).run(Schedule([job(component) for component in components]), session, Silent())

    return call


def job(component):
    return Job("train", component, {"component": {"name": component.partition(":")[0]}}, component, "", 0, {})


def starts(path):
    """Process, node, GPUs and device of each start of the job that has this file."""
    begun = Path(f"{path}.begun")
    return [json.loads(line) for line in begun.read_text().splitlines()] if begun.exists() else []


def test_a_worker_that_dies_costs_its_job_alone_and_only_as_many_jobs_as_fit_are_taken(reports, tmp_path):
    paths = [tmp_path / str(number) for number in range(6)]
    taken = []
    schedule = Schedule([job(f"until:{path}") for path in paths])
    take = schedule.take
    schedule.take = lambda suits: (found := take(suits)) and (taken.append(found.key) or found)
    executor = Ray()
    session = Session("shapes", ("", ""), tmp_path, tmp_path, "cpu")
    assert executor.slots == 3
    with in_background(executor.run(schedule, session, Silent()), tmp_path) as got:
        wait_for(lambda: all(starts(path) for path in paths[:3]))
        assert len(taken) == 3 + 1, "one more than can run"
        os.kill(starts(paths[1])[0][0], signal.SIGKILL)
        for path in (paths[0], *paths[2:]):
            path.touch()
        wait_for(lambda: len(starts(paths[1])) == 2)
        paths[1].touch()
    assert sorted(report.key for report in got if report.status == "done") == [f"until:{path}" for path in paths]
    assert [len(starts(path)) for path in paths] == [1, 2, 1, 1, 1, 1]


def test_a_lost_job_is_tried_a_few_times_and_an_error_once(reports, tmp_path):
    kill, error, fine = (f"{what}:{tmp_path}/{what}" for what in ("kill", "raise", "fine"))
    got = {report.key: report for report in reports([kill, error, fine], retries=1)}
    assert [got[key].status for key in (kill, error, fine)] == ["failed", "failed", "done"]
    assert got[kill].error["kind"] == "WorkerCrashedError"
    assert (got[error].error["kind"], got[error].error["message"]) == ("ValueError", "the store is locked")
    assert [len(starts(tmp_path / what)) for what in ("kill", "raise", "fine")] == [2, 1, 1]


def test_a_node_that_is_not_fit_is_left_out_and_its_job_goes_to_another(reports, tmp_path):
    (report,) = reports([f"elsewhere:{tmp_path}/job"], retries=0)
    (_, bad, *_), (_, good, *_) = starts(tmp_path / "job")
    assert (report.status, bad != good) == ("done", True)
    assert list(report.warnings) == [f"node {bad[:8]} is left out: it has a GPU that does not work (busy)"]


def test_the_run_ends_when_no_node_is_left(reports, tmp_path):
    with pytest.raises(UserError, match=r"(node \w+ is left out: it has a GPU .*; ){3}no node is left"):
        list(reports([f"nowhere:{tmp_path}/job"]))


def test_what_makes_a_node_unfit(tmp_path, monkeypatch):
    session = Session("shapes", ("", ""), tmp_path, tmp_path, "cpu")
    here = facts(CORE)
    with marked(tmp_path) as token:
        assert not unfit(session, here, token)
    assert unfit(session, here, token).startswith(f"does not see the store {tmp_path}; give --store on a disk")
    assert "has torch 0, this machine has" in unfit(session, here | {"torch": "1"}).replace(here["torch"], "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "has no CUDA device; request one" in unfit(replace(session, device="cuda", elsewhere=True), here)
    monkeypatch.setattr(devices, "fault", lambda device: "busy")
    assert unfit(replace(session, device="cuda"), here) == "has a GPU that does not work (busy)"
    assert not unfit(replace(session, device="cuda"), here, in_child=True), "the child looks itself"


def test_what_is_meant_for_the_cpu_gets_no_gpu(reports, tmp_path, monkeypatch):
    monkeypatch.setattr(executor_ray, "defenses", ["until"])
    here, there = tmp_path / "here", tmp_path / "there"
    here.touch()
    assert [r.status for r in reports([f"until:{here}", f"other:{there}"], "cuda", gpus=1, on_cpu="until")] == [
        "done"
    ] * 2
    assert [start[2:] for start in starts(here)] == [[[], "cpu"]]
    assert [start[2:] for start in starts(there)] == [[["0"], "cuda"]]


def test_stages_on_the_cpu_take_no_place_of_a_gpu(reports, tmp_path, monkeypatch):
    """One GPU and three CPUs: two of the jobs on a CPU run next to the job on the GPU."""
    monkeypatch.setattr(executor_ray, "defenses", ["until"])
    filters, training = [tmp_path / str(number) for number in range(4)], tmp_path / "training"
    training.touch()
    jobs = [*(f"until:{path}" for path in filters), f"other:{training}"]
    with in_background(reports(jobs, "cuda", gpus=1, on_cpu="until"), tmp_path) as got:
        wait_for(lambda: len(got) == 1)
        assert got[0].key == f"other:{training}", "the filters did not wait"
        for path in filters:
            path.touch()
    assert [report.status for report in got] == ["done"] * 5


def nodes(*resources):
    return SimpleNamespace(nodes=lambda: [{"Alive": True, "NodeID": "a", "Resources": each} for each in resources])


@pytest.mark.parametrize(
    ("parameters", "resources", "places"),
    [
        ({"gpus": 0.1, "cpus": 0.1}, [{"CPU": 8.0, "GPU": 1.0}], (10, 0)),
        ({"gpus": 1.0, "on_cpu": "iss-gray"}, [{"CPU": 8.0, "GPU": 1.0}, *[{"CPU": 32.0}] * 3], (1, 7 + 96)),
        ({"gpus": 1.0, "cpus": 8.0, "on_cpu": "iss-gray"}, [{"CPU": 8.0, "GPU": 1.0}], (1, 1)),
        ({"cpus": 2.0, "on_cpu": "iss-gray"}, [{"CPU": 8.0}], (4, 0)),
    ],
)
def test_places_of_both_kinds_by_hand(parameters, resources, places):
    assert Ray(**parameters)._places(nodes(*resources)) == places


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpus=nan", "nan"),
        ("gpus=inf", "gpus must be at least 0, got inf"),
        ("gpus=1.5", "gpus=1.5: a job gets a part of one GPU or several whole ones"),
    ],
)
def test_numbers_that_mean_no_resources_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        choose_executor(f"ray:{text}")


@pytest.mark.parametrize(
    ("device", "parameters", "message"),
    [
        ("cuda", {}, "gpus=0, and the device is a GPU; give gpus=1, or --device cpu"),
        ("cpu", {"cpus": 8}, "no node of the cluster has 8 CPUs and 0 GPUs; ask for less"),
        ("cpu", {"on_cpu": "iss-grey"}, "on_cpu: unknown component 'iss-grey'"),
    ],
)
def test_what_the_cluster_cannot_do_is_a_line_before_any_work(reports, device, parameters, message):
    with pytest.raises(UserError, match=message):
        reports(["fine"], device, **parameters)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("address=nonsense", "address='nonsense': give auto, local, or \"HOST:PORT\""),
        ("address=10.0.0.1:6379", 'a value with a colon stands in quotes: address="10.0.0.1:6379"'),
    ],
)
def test_an_address_that_is_none_is_a_line(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        choose_executor(f"ray:{text}")


def test_an_address_where_nobody_listens_is_a_line_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("waits for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    executor = choose_executor(f'ray:address="127.0.0.1:{port}"')
    with pytest.raises(UserError, match=f"no cluster at '127.0.0.1:{port}' .*refused"):
        executor.run(Schedule([]), Session("shapes", ("", ""), tmp_path, tmp_path, "cpu"), Silent())


def test_another_cluster_than_that_of_the_process_is_refused(reports):
    connected = re.escape(ray.get_runtime_context().gcs_address)
    with pytest.raises(UserError, match=f"is connected to the cluster at {connected}, not to '127.0.0.1:1'"):
        reports(["fine"], address="127.0.0.1:1")


def test_a_small_matrix_gives_the_accuracies_of_one_process(cluster, tmp_path):
    def cells(store, **options):
        frame = run_matrix(
            "ops", "iss-gray", "linear:epochs=2", preset="demo", dataset="shapes:train=64:test=32",
            store=tmp_path / store, data_root=tmp_path, device="cpu", threads=1, **options,
        )  # fmt: skip
        assert set(frame["status"]) == {"done"}
        return dict(zip(frame["key"], frame["clean_test_accuracy"], strict=True))

    assert cells("here") == cells("there", executor="ray")


def test_a_node_that_dies_costs_its_job_alone(cluster, reports, tmp_path):
    """The last test: the cluster has a node less."""
    paths = [tmp_path / str(number) for number in range(3)]
    with in_background(reports([f"until:{path}" for path in paths]), tmp_path) as got:
        wait_for(lambda: all(starts(path) for path in paths))
        head = ray.get_runtime_context().get_node_id()
        lost = next(path for path in paths if starts(path)[0][1] != head)
        (node,) = (node for node in cluster.list_all_nodes() if node.node_id == starts(lost)[0][1])
        cluster.remove_node(node, allow_graceful=False)
        for path in paths:
            if path != lost:
                path.touch()
        wait_for(lambda: len(starts(lost)) == 2)
        lost.touch()
    assert [report.status for report in got] == ["done"] * 3
    assert sorted(len(starts(path)) for path in paths) == [1, 1, 2]


def test_ray_leaves_the_handler_of_sigterm_in_place(cluster):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_node_without_the_store_or_with_other_code_is_named(tmp_path):
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir()
    elsewhere.mkdir()

    def asked(**nodes):
        check_nodes(store, lambda folder, token: {name: ask(folder, token) for name, ask in nodes.items()})

    asked(a=visit, b=visit)
    with pytest.raises(
        UserError, match=f"node b does not see the store {store}; give --store on a disk that all nodes"
    ):
        asked(a=visit, b=lambda folder, token: visit(str(elsewhere), token))
    with pytest.raises(UserError, match=r"node b wrote into the store .*, and this machine does not see it"):
        asked(b=lambda folder, token: facts() | {"answer": f"{token}-x"})
    for name in facts():
        with pytest.raises(UserError, match=f"node b has {name} 1, this machine has .*; install the same there"):
            asked(b=lambda folder, token, name=name: visit(folder, token) | {name: "1"})
    assert not list(store.iterdir())
