"""How a precision is chosen, followed and kept apart: keys, places, devices' names, estimates."""

import threading
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench import run_matrix
from bench.api import engine
from bench.api.engine import Engine, applied_precision
from bench.datasets import loading
from bench.errors import UserError
from bench.plan.history import History
from bench.plan.plan import make_plan
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.stages.jobs import STAGES
from bench.stages.session import Session
from bench.store.artifacts import Store
from bench.training import autocast, predict

CPU = torch.device("cpu")
TINY = {"dataset": "shapes:train=40:test=20", "victims": "linear:epochs=1", "preset": "demo", "threads": 1}


def plan_of(folder: Path, how: Engine, device: str = "cpu"):
    settings = Settings("demo", TINY["dataset"], "lsp", "iss-gray", TINY["victims"])
    matrix = make_matrix([settings])
    splits = loading.load(matrix.dataset, folder)
    session = Session(matrix.dataset, splits.digests, folder, folder, device, how)
    return make_plan(matrix, splits, Store(folder), session)


def seen_precision() -> torch.dtype:
    """Of a matrix product under `autocast`."""
    with autocast(CPU):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(("device", "able", "chosen"), [("cpu", True, "float32"), ("cuda:1", True, "bfloat16")])
def test_auto_is_resolved_by_the_device(monkeypatch, device, able, chosen):
    monkeypatch.setattr(engine, "has_bfloat16", lambda device: able)
    assert Engine.choose(device).precision == chosen
    assert Engine.choose(device, precision="float32").precision == "float32"
    assert Engine.choose(device, precision="bfloat16").precision == "bfloat16"


def test_a_gpu_without_bfloat16(monkeypatch):
    monkeypatch.setattr(engine, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    assert Engine.choose("cuda").precision == "float32"
    with pytest.raises(UserError, match=r"'cuda' \(Old GPU\) does not compute in bfloat16; use --precision float32"):
        Engine.choose("cuda", precision="bfloat16")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"precision": "bfloat"},
            "unknown precision 'bfloat'; did you mean bfloat16. Choices: auto, bfloat16, float32",
        ),
        ({"precision": "float16"}, "unknown precision 'float16'.*Choices: auto, bfloat16, float32"),
        ({"engine": "jit"}, "unknown engine 'jit'.*Choices: auto, compile, eager, graph"),
    ],
)
def test_an_unknown_word_is_an_error_before_any_work(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        run_matrix("none", "none", store=tmp_path / "store", **TINY, **words)
    assert not (tmp_path / "store").exists()


def test_autocast_follows_the_engine_that_is_applied():
    assert seen_precision() == torch.float32
    with Engine(precision="bfloat16").applied():
        assert seen_precision() == torch.bfloat16
        with Engine().applied():
            assert seen_precision() == torch.float32
        assert seen_precision() == torch.bfloat16
    with pytest.raises(ValueError), Engine(precision="bfloat16").applied():
        raise ValueError
    assert applied_precision() == "float32"


def test_threads_that_a_plug_in_starts_follow_it_too():
    seen = []
    with Engine(precision="bfloat16").applied():
        thread = threading.Thread(target=lambda: seen.append(seen_precision()))
        thread.start()
        thread.join()
    assert seen == [torch.bfloat16]


def test_evaluation_follows_it(random_set):
    seen = []

    class Watched(torch.nn.Linear):
        def forward(self, images):
            logits = super().forward(images.flatten(1))
            seen.append(logits.dtype)
            return logits

    images, model = random_set(4), Watched(3 * 8 * 8, 4)
    predict(model, images.images, CPU)
    with Engine(precision="bfloat16").applied():
        predict(model, images.images, CPU)
    assert seen == [torch.float32, torch.bfloat16]


def test_it_is_part_of_every_key_and_of_the_place(tmp_path):
    single, half = (plan_of(tmp_path, Engine(precision=p)) for p in ("float32", "bfloat16"))
    assert {job.stage for job in single.jobs.values()} == set(STAGES)
    assert not single.jobs.keys() & half.jobs.keys()
    assert not {cell.key for cell in single.cells} & {cell.key for cell in half.cells}
    assert {job.preimage["precision"] for job in half.jobs.values()} == {"bfloat16"}


def test_the_other_switches_are_no_part_of_a_key(tmp_path):
    plain, other = plan_of(tmp_path, Engine()), plan_of(tmp_path, Engine("compile", True))
    assert plain.jobs.keys() == other.jobs.keys()
    assert [cell.key for cell in plain.cells] == [cell.key for cell in other.cells]


def test_auto_on_another_device_goes_on_only_in_the_same_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "has_bfloat16", lambda device: True)
    on_cpu, on_gpu, asked = (
        plan_of(tmp_path, Engine.choose(device, precision=word), device)
        for device, word in (("cpu", "auto"), ("cuda", "auto"), ("cuda", "float32"))
    )
    assert not on_cpu.jobs.keys() & on_gpu.jobs.keys()
    assert on_cpu.jobs.keys() == asked.jobs.keys()


@pytest.fixture(scope="module")
def twice(tmp_path_factory) -> tuple[Path, list[pd.DataFrame]]:
    """A store, and the cells of a run in bfloat16, then in float32, then of both again."""
    root = tmp_path_factory.mktemp("precisions") / "store"
    words = ("bfloat16", "float32", "bfloat16", "auto")
    return root, [run_matrix("lsp", "iss-gray", store=root, precision=word, **TINY) for word in words]


def test_a_run_in_another_precision_computes_anew(twice):
    root, (half, single, half_again, single_again) = twice
    for stage in STAGES:
        assert not set(half[f"{stage}_key"]) & set(single[f"{stage}_key"]), stage
    assert half_again.equals(half), "from the store"
    assert single_again.equals(single), "auto is float32 here, and from the store"
    assert len(list((root / "cells").glob("*.json"))) == len(half) + len(single)
    store = Store(root)
    computed = dict.fromkeys(("float32", "bfloat16"), 0)
    for stage, key in store.artifacts():
        manifest = store.manifest(stage, key)
        assert manifest.environment["precision"] == manifest.preimage["precision"]
        assert manifest.cost.device.endswith(f", {manifest.environment['precision']}")
        computed[manifest.environment["precision"]] += 1
    assert computed["float32"] == computed["bfloat16"] > 0


def test_the_curves_tell_that_both_were_computed(twice):
    """The linear victim's losses differ by rounding to 8 bits, and by no more."""
    store = Store(twice[0])
    half, single = (
        {
            (row.attack, row.defense): store.manifest("train", row.train_key).payload["curve"][0]["train_loss"]
            for row in f.itertuples()
        }
        for f in twice[1][:2]
    )
    assert half.keys() == single.keys()
    assert all(half[place] != single[place] for place in half)
    assert list(half.values()) == pytest.approx(list(single.values()), rel=0.02)


def test_cells_say_their_precision(twice):
    half, single = twice[1][:2]
    for frame, name in ((half, "bfloat16"), (single, "float32")):
        assert set(frame["precision"]) == set(frame["provenance_precision"]) == {name}
        assert frame["device"].str.endswith(name).all()


def test_estimates_come_from_the_same_precision(tmp_path, monkeypatch):
    run_matrix("lsp", "iss-gray", store=tmp_path, precision="bfloat16", **TINY)
    monkeypatch.setattr(torch, "get_num_threads", lambda: TINY["threads"])
    known = {}
    plan = plan_of(tmp_path, Engine())
    for precision in ("float32", "bfloat16"):
        history = History(Store(tmp_path), replace(plan.session, engine=Engine(precision=precision)))
        known[precision] = {history.seconds(job) is not None for job in plan.jobs.values()}
    assert known == {"float32": {False}, "bfloat16": {True}}
