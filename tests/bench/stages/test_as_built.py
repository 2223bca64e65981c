"""A network is judged as it was built: hooks and methods of its training do not run, and nothing changes."""

import pytest
import torch
from torch import nn

from bench.errors import ContractError
from bench.stages.as_built import AsBuilt
from bench.training import predict

CPU = torch.device("cpu")
IMAGES = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)


class Counts(nn.Module):
    """A layer that keeps plain values, and a buffer that is replaced."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.calls += self.training
        return x


def network():
    return nn.Sequential(nn.Flatten(), Counts(), nn.Linear(12, 3))


class Worse(nn.Linear):
    def forward(self, x):
        raise AssertionError


def forbidden(*arguments):
    raise AssertionError


ATTACHED = {
    "a hook": lambda model: model.register_forward_pre_hook(forbidden),
    "a layer's hook": lambda model: model[2].register_forward_hook(forbidden),
    "a hook with another hook at first": lambda model: model[0].register_forward_hook(forbidden),
    "a method": lambda model: setattr(model[2], "forward", forbidden),
    "its mode": lambda model: setattr(model, "eval", forbidden),
    "a class": lambda model: setattr(model[2], "__class__", Worse),
}


@pytest.mark.parametrize("attach", ATTACHED.values(), ids=ATTACHED)
def test_what_a_training_attached_does_not_run_and_stays_for_the_training(attach):
    model, seen = network(), []
    model[0].register_forward_hook(lambda *arguments: seen.append(1))
    built = AsBuilt(model)
    expected = predict(model, IMAGES, CPU)
    attach(model)
    with built.judged():
        assert torch.equal(predict(model, IMAGES, CPU), expected)
    assert len(seen) == 2
    with pytest.raises(AssertionError):
        predict(model, IMAGES, CPU)


def test_values_are_those_of_the_training():
    model = network()
    built = AsBuilt(model)
    model(torch.zeros(1, 3, 2, 2))
    model[1].last = torch.ones(1)
    model[1].seen = [2]
    with torch.no_grad():
        model[2].bias += 1
    for _ in range(2):
        with built.judged():
            assert (model[1].calls, float(model[1].last), model[1].seen) == (1, 1.0, [2])
            assert float(model(torch.zeros(1, 3, 2, 2)).detach().mean()) == pytest.approx(
                float(model[2].bias.detach().mean())
            )
        model[1].calls = 1


@pytest.mark.parametrize("tensor", [lambda model: model[2].weight, lambda model: model[1].last])
def test_an_evaluation_changes_no_value(tensor):
    model = network()
    with pytest.raises(ContractError, match="while it was evaluated"), AsBuilt(model).judged():
        tensor(model).data.add_(1e-3)


REPLACED = {
    "2.weight": lambda model: setattr(model[2], "weight", nn.Parameter(torch.zeros(3, 12))),
    "1": lambda model: model.__setitem__(1, Counts()),
    "2.more": lambda model: setattr(model[2], "more", nn.ReLU()),
}


@pytest.mark.parametrize(("name", "replace"), REPLACED.items(), ids=REPLACED)
def test_parts_that_are_other_objects_are_refused(name, replace):
    model = network()
    built = AsBuilt(model)
    replace(model)
    with pytest.raises(ContractError, match=f"'{name}' of the victim was replaced"), built.judged():
        pass


def test_a_replaced_method_of_a_class_is_refused(monkeypatch):
    model = network()
    built = AsBuilt(model)
    monkeypatch.setattr(nn.Linear, "forward", forbidden)
    with pytest.raises(ContractError, match=r"Linear\.forward was replaced"), built.judged():
        pass


def test_a_lazy_layer_and_a_value_that_is_not_a_number_are_judged_too():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    built = AsBuilt(model)
    model(torch.zeros(1, 3, 2, 2))
    with torch.no_grad():
        model[1].weight.fill_(float("nan"))
    for _ in range(2):
        with built.judged():
            model(torch.zeros(1, 3, 2, 2))
        assert type(model[1]) is nn.Linear
