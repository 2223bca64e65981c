"""A victim's network is tried on two images before any work, by the plan and by the stage."""

import pytest
import torch
from torch import nn

from bench import run_matrix
from bench.api import DataInfo
from bench.errors import ContractError, UserError
from bench.stages.network import check_network
from victims.small import Linear

INFO = DataInfo("tiny", 10, (3, 4, 4))


class Answers(nn.Module):
    """A linear layer whose result is passed through `change`."""

    def __init__(self, change, features: int = 10) -> None:
        super().__init__()
        self.layer, self.norm, self.change = nn.Linear(48, features), nn.BatchNorm1d(features), change

    def forward(self, images):
        return self.change(self.norm(self.layer(images.flatten(1))))


BROKEN = {
    "(2, 7), expected logits (2, 10)": Answers(lambda logits: logits, features=7),
    "(2, 12), expected logits (2, 10)": Answers(lambda logits: logits, features=12),
    "returned dict, expected logits": Answers(lambda logits: {"logits": logits}),
    "torch.int64, expected floating-point": Answers(lambda logits: logits.long()),
    "no weight to train": Answers(lambda logits: logits).requires_grad_(False),
    "the weight 1.weight has no size yet": nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
    "build returned function": lambda images: images,
}


@pytest.mark.parametrize("problem", BROKEN)
def test_what_a_victim_returns_is_said_in_one_sentence(problem: str) -> None:
    with pytest.raises(ContractError) as refused:
        check_network(BROKEN[problem], INFO, torch.device("cpu"))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_trial_leaves_the_network_and_the_generator_as_they_were() -> None:
    network = Answers(lambda logits: nn.functional.dropout(logits)).train()
    network.norm.momentum = 1.0
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    check_network(network, INFO, torch.device("cpu"))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_plan_refuses_it_and_the_stage_too(monkeypatch, tmp_path) -> None:
    def run():
        return run_matrix(
            "none", "none", "linear:epochs=1", preset="demo", dataset="shapes:train=96:test=32", store=tmp_path
        )

    monkeypatch.setattr(Linear, "build", lambda self, info: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 12)))
    with pytest.raises(UserError, match=r"victim 'linear:epochs=1': .*\(2, 12\), expected logits \(2, 10\)"):
        run()
    monkeypatch.setattr("bench.plan.obstacles.check_network", lambda *_: None)
    assert run()["status"].tolist() == ["failed"]
    (cell,) = tmp_path.glob("cells/*.json")
    assert "(2, 12), expected logits (2, 10)" in cell.read_text(encoding="utf-8")
