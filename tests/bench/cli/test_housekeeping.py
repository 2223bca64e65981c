"""Garbage collection never takes what somebody needs: finished cells, stopped runs, runs that are active."""

import errno
import signal
import subprocess
import sys

import pytest

from bench import run_matrix
from bench.cli.housekeeping import collect_garbage
from bench.datasets import loading
from bench.errors import UserError
from bench.plan.plan import make_plan
from bench.run.executors.inline import Inline
from bench.run.runner import Silent, run_plan
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.stages.execute import execute
from bench.stages.session import Session
from bench.store.artifacts import Store

TINY = "shapes:train=64:test=32"
WORDS = {"preset": "demo", "dataset": TINY, "attacks": "ops", "defenses": "iss-bdr", "victims": "linear:epochs=1"}


class Dies(Inline):
    """An executor whose process ends after a few jobs."""

    def run(self, jobs, session, watcher):
        for count, report in enumerate(super().run(jobs, session, watcher)):
            yield report
            if count == 1:
                raise KeyboardInterrupt


def session_in(folder, splits):
    return Session(TINY, splits.digests, folder / "store", folder, "cpu")


@pytest.fixture
def plan_in(tmp_path):
    store = Store(tmp_path / "store")

    def make(**changes):
        matrix = make_matrix([Settings(**WORDS | changes)])
        splits = loading.load(TINY, tmp_path)
        return store, make_plan(matrix, splits, store, session_in(tmp_path, splits))

    return make


@pytest.fixture
def stopped(plan_in):
    """A store in which a run was stopped before its first cell."""
    store, plan = plan_in()
    with pytest.raises(KeyboardInterrupt), store.in_use():
        run_plan(plan, store, Dies(), Silent())
    assert list(store.artifacts())
    assert not list(store.cells.iterdir())
    return store


def test_what_a_stopped_run_made_is_kept_and_used(stopped, plan_in, capsys):
    before = list(stopped.artifacts())
    stopped.scratch()
    collect_garbage(stopped.root, dry_run=False)
    assert list(stopped.artifacts()) == before
    assert f"kept {len(before)} artifacts needed to resume 1 interrupted run;" in capsys.readouterr().out
    assert not (stopped.root / "partial").exists()
    store, plan = plan_in()
    outcome = run_plan(plan, store, Inline(), Silent())
    assert sum(outcome.reused.values()) == len(before)
    assert not store.planned(), "it has ended, its cells name what they use"
    collect_garbage(store.root, dry_run=False)
    assert all(store.state(stage, key) == "valid" for cell in outcome.cells for stage, key in cell.artifacts.items())


def test_what_a_stopped_run_made_goes_on_demand(stopped, capsys):
    collect_garbage(stopped.root, dry_run=True, unfinished=True)
    assert list(stopped.artifacts())
    assert stopped.planned()
    collect_garbage(stopped.root, dry_run=False, unfinished=True)
    assert not list(stopped.artifacts())
    assert not stopped.planned()


def test_what_nobody_wants_goes(stopped, plan_in):
    """A run with other attacks has ended, and its cells were deleted."""
    store, plan = plan_in(attacks="lsp")
    run_plan(plan, store, Inline(), Silent())
    wanted = set().union(*store.planned().values())
    for path in store.cells.iterdir():
        path.unlink()
    collect_garbage(store.root, dry_run=False)
    assert set(store.artifacts()) <= wanted


def test_garbage_is_not_collected_during_a_run(stopped):
    scratch = stopped.scratch()
    with stopped.in_use(), stopped.in_use():
        with pytest.raises(UserError, match=r"a run is active in it; wait.*--dry-run"):
            collect_garbage(stopped.root, dry_run=False, unfinished=True)
        collect_garbage(stopped.root, dry_run=True, unfinished=True)
    assert scratch.is_dir()
    assert list(stopped.artifacts())
    collect_garbage(stopped.root, dry_run=False)
    assert not scratch.exists()


def test_a_killed_run_holds_nothing(stopped):
    code = (
        "import sys, time, pathlib; from bench.store.locks import shared\n"
        "with shared(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(stopped.root / "run.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="a run is active"):
            collect_garbage(stopped.root, dry_run=False)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    collect_garbage(stopped.root, dry_run=False)


def test_neither_run_nor_job_begins_during_a_collection(stopped, plan_in, tmp_path):
    _, plan = plan_in()
    run_matrix(**WORDS, store=stopped.root, data_root=tmp_path)  # all is there: no job would run
    with stopped.alone():
        with pytest.raises(UserError, match="`bench cache gc` is at work in it"):
            run_matrix(**WORDS, store=stopped.root, data_root=tmp_path)
        with pytest.raises(UserError, match="is at work"):
            execute(next(iter(plan.jobs.values())), plan.session)


def test_without_locks_runs_go_on_and_nothing_is_deleted(stopped, plan_in, monkeypatch):
    def refuse(handle, *, exclusive):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("bench.store.locks._lock", refuse)
    with stopped.in_use():
        pass
    with pytest.raises(UserError, match="cannot tell whether a run is active in it"):
        collect_garbage(stopped.root, dry_run=False, unfinished=True)
    assert list(stopped.artifacts())


def test_other_errors_of_the_lock_are_not_swallowed(stopped, monkeypatch):
    def fail(handle, *, exclusive):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("bench.store.locks._lock", fail)
    with pytest.raises(OSError, match="Input/output"), stopped.in_use():
        pass


def test_a_damaged_plan_is_named(stopped):
    (path,) = stopped.root.glob("plans/*.json")
    path.write_text("{")
    with pytest.raises(UserError, match=rf"{path.name}: not a readable plan"):
        collect_garbage(stopped.root, dry_run=False)
    assert list(stopped.artifacts())


def test_looking_creates_no_store(plan_in, tmp_path):
    matrix = make_matrix([Settings(**WORDS)])
    nowhere = Store(tmp_path / "nowhere", create=False)
    splits = loading.load(TINY, tmp_path)
    plan = make_plan(matrix, splits, nowhere, session_in(tmp_path, splits))
    assert set(plan.states.values()) == {"absent"}
    assert not list(nowhere.artifacts())
    with pytest.raises(UserError, match="is not a store"):
        collect_garbage(nowhere.root, dry_run=True)
    assert not nowhere.root.exists()


def test_threads_of_the_python_interface(tmp_path):
    import torch

    before = torch.get_num_threads()
    frame = run_matrix(**WORDS, store=tmp_path / "store", data_root=tmp_path, threads=before + 1)
    assert set(frame.provenance_threads) == {str(before + 1)}
    assert torch.get_num_threads() == before
    with pytest.raises(UserError, match="threads must be at least 1, got 0"):
        run_matrix(**WORDS, store=tmp_path / "store", data_root=tmp_path, threads=0)
