"""One preparation for command line, Python and GPU runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.run.prepare import Options, prepared
from bench.select.settings import Settings
from bench.stages.jobs import Job
from bench.stages.session import Session

SETTINGS = Settings("demo", "shapes:train=64:test=32", "lsp", "iss-gray", "linear")


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path / "store", tmp_path, device="cpu", command="bench run")


def test_jobs_hold_what_differs_and_the_plan_holds_the_session(options, tmp_path):
    with prepared([SETTINGS], replace(options, threads=1, repeat_costs=3)) as ready:
        session = ready.plan.session
    assert list(Job.__dataclass_fields__) == ["stage", "key", "preimage", "component", "defense", "seed", "inputs"]
    assert (session.dataset, session.digests) == (SETTINGS.dataset, ready.splits.digests)
    assert (session.store, session.data_root) == (tmp_path / "store", tmp_path)
    assert (session.device, session.threads, session.repeat_costs, session.command) == ("cpu", 1, 3, "bench run")


def test_the_number_of_threads_is_put_back_also_after_an_error(options):
    before = torch.get_num_threads()
    seen = []

    def stop():
        seen.append(torch.get_num_threads())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), prepared([SETTINGS], replace(options, threads=before + 1), runs=False):
        stop()
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_data_that_changed_in_between_is_read_again(options, tmp_path):
    found = []
    for value in (0, 1):
        images = np.full((8, 8, 8, 3), value, dtype=np.uint8)
        labels = np.arange(8) % 2
        np.savez(tmp_path / "set.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
        with prepared([replace(SETTINGS, dataset=f"npz:{tmp_path}/set.npz")], options, runs=False) as ready:
            found.append(ready.plan.session.digests)
    assert found[0] != found[1]


def test_looking_makes_no_store(options):
    with prepared([SETTINGS], options, runs=False) as ready:
        assert set(ready.plan.states.values()) == {"absent"}
    assert not options.store.exists()


def test_baselines_are_left_out_on_demand(options):
    with prepared([SETTINGS], replace(options, baselines=False), runs=False) as ready:
        assert [(cell.attack.name, cell.defense.name) for cell in ready.plan.cells] == [("lsp", "iss-gray")]


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_stage_timeout_is_a_time(options, seconds):
    layers = [replace(SETTINGS, stage_timeout=seconds)]
    with pytest.raises(UserError, match="stage_timeout must be more than 0 and at most"), prepared(layers, options):
        pass


def test_the_stage_timeout_of_the_command_line_wins(options):
    layers = [replace(SETTINGS, stage_timeout=60), replace(SETTINGS, stage_timeout=5)]
    with prepared(layers, options, runs=False) as ready:
        assert ready.plan.session.stage_timeout == 5
    with prepared([*layers[:1], SETTINGS], options, runs=False) as ready:
        assert Session.from_json(ready.plan.session.to_json()).stage_timeout == 60


def test_expected_times_are_recorded_ones_then_estimates_then_the_longest_of_the_stage(options, monkeypatch):
    settings = replace(SETTINGS, attacks="lsp,em:max_passes=9", defenses="dvae")
    with prepared([settings], options, runs=False) as ready:
        jobs = {job.component.split(":")[0]: job for job in ready.plan.pending() if job.stage != "train"}
        monkeypatch.setattr(ready.history, "seconds", lambda job: 7.0 if job is jobs["lsp"] else None)
        assert ready.seconds(jobs["lsp"]) == 7.0
        assert ready.seconds(jobs["em"]) == 7.0, "with a limit of its own it is not counted"
        assert ready.seconds(jobs["dvae"]) > ready.seconds(jobs["none"]) == 0


@pytest.mark.parametrize("name", ["threads", "repeat_costs"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(UserError, match=f"{name} must be at least 1, got 0"):
        Options(**{name: 0})


def test_a_run_knows_of_another_one_in_its_store(options):
    with prepared([SETTINGS], options) as first, prepared([SETTINGS], options) as second:
        assert (first.shared, second.shared) == (False, True)
    with prepared([SETTINGS], options) as third:
        assert not third.shared
