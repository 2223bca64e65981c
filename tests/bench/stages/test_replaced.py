"""A plug-in that puts its own function in place of one that times, trains or judges is found out."""

import time

import pytest
import torch
from torch.nn import functional

from bench import run_matrix
from bench.errors import ContractError
from bench.measure.cost import Meter
from bench.stages.replaced import none_replaced
from bench.training import evaluate

REPLACED = {
    "torch.nn.functional.cross_entropy": functional,
    "time.perf_counter": time,
    "torch.optim.SGD.step": torch.optim.SGD,
    "torch.cuda.synchronize": torch.cuda,
    "bench.training.evaluate.predict": evaluate,
    "bench.measure.cost.Meter.phase": Meter,
}


def another(*arguments, **named):
    raise AssertionError


@pytest.mark.parametrize(("name", "where"), REPLACED.items())
def test_a_function_that_is_replaced_in_a_stage_is_named(monkeypatch, name, where):
    with pytest.raises(ContractError, match=f"{name} was replaced by a plug-in"), none_replaced():
        monkeypatch.setattr(where, name.rpartition(".")[2], another)


def test_torch_itself_may_wrap_the_step_of_an_optimizer():
    with none_replaced():
        for kind in (torch.optim.Adam, torch.optim.AdamW):
            kind([torch.nn.Parameter(torch.zeros(1))]).step()


def test_what_was_replaced_before_a_stage_fails_it(monkeypatch, tmp_path):
    monkeypatch.setattr(functional, "cross_entropy", another)
    options = {"preset": "demo", "dataset": "shapes:train=40:test=20", "store": tmp_path}
    (cell,) = run_matrix("none", "none", "linear:epochs=1", **options).itertuples()
    assert cell.status == "failed"
    assert "cross_entropy was replaced" in cell.error_message
