"""A training that runs out of memory is tried once more with each batch in parts, where these have its gradients."""

import json

import pytest
import torch
from torch import nn

from bench import run_matrix
from bench.api import DataInfo
from bench.stages.micro_batches import PARTS, in_parts, why_not_in_parts
from bench.training import Batch, autocast, cross_entropy
from victims.small import Linear

INFO = DataInfo("tiny", 4, (3, 8, 8))


def network(*layers: nn.Module) -> nn.Module:
    """Convolution, these layers, classifier."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), *layers, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))


class Apart(nn.Module):
    """A layer of a plug-in: what distinguishes each image from the mean of its batch."""

    def forward(self, images):
        return images - 0.1 * images.mean(dim=0)


class Counts(nn.Module):
    """Keeps a running mean that it does not use in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images):
        if self.training:
            self.mean.lerp_(images.detach().mean(), 0.1)
        return images


class Gated(nn.Module):
    """Starts as if it were not there."""

    def __init__(self):
        super().__init__()
        self.gate, self.inner = nn.Parameter(torch.zeros(())), Apart()

    def forward(self, images):
        return images + self.gate * self.inner(images)


class FrozenNorm(nn.BatchNorm2d):
    """Stays in eval mode."""

    def train(self, mode=True):
        return super().train(False)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_parts_have_the_gradients_of_the_batch_and_see_a_part_at_a_time(bfloat16: bool, monkeypatch) -> None:
    monkeypatch.setattr("bench.training.numbers.applied_precision", lambda: ("float32", "bfloat16")[bfloat16])
    model, seen = network(nn.GroupNorm(2, 6)), []
    model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    rows = torch.arange(10)
    batch = Batch(torch.rand(10, 3, 8, 8), rows % 4, rows, 0)
    found = []
    for loss in (cross_entropy(model), in_parts(cross_entropy(model))):
        with autocast(torch.device("cpu")):
            value = loss(batch)
        value.backward()
        found.append([value.detach(), *(weight.grad for weight in model.parameters())])
        model.zero_grad(set_to_none=True)
    assert seen == [10, 3, 3, 3, 1, 1, 3, 3, 3], "forward, and again in the backward pass, which begins at the end"
    torch.testing.assert_close(*found, rtol=2e-2 if bfloat16 else 1e-5, atol=2e-3 if bfloat16 else 1e-7)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.GroupNorm(2, 6), ""),
        (nn.Dropout(0.0), ""),
        (FrozenNorm(6), ""),
        (nn.BatchNorm2d(6), "the layer 1 (BatchNorm2d) computes with all images of a batch"),
        (nn.Dropout(0.1), "draws random numbers (dropout)"),
        (Counts(), "keeps values of a batch in its buffers"),
        (Apart(), "a layer computes with several images of a batch: the gradient of 0.weight becomes another one"),
        (Gated(), "several images of a batch: the gradient of 1.gate"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_reason_against_parts_is_found_on_the_network(layer: nn.Module, reason: str, make_context) -> None:
    model = network(layer).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = why_not_in_parts(model, INFO, make_context())
    assert reason in found
    assert bool(reason) == bool(found)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


class Hungry(nn.Module):
    """A network for whose training steps of more than `most` images there is no memory."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, images):
        if self.training and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB.")
        return self.inner(images)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """`trained(most, inner, defense)`: the stored cell of a training in batches of 20 images."""

    def run(most: int, inner: nn.Module | None = None, defense: str = "none"):
        def build(self, info):
            return Hungry(inner or nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), most)

        monkeypatch.setattr(Linear, "build", build)
        store = tmp_path / f"{most}-{defense}"
        words = {"preset": "demo", "dataset": "shapes:train=90:test=40", "store": store, "device": "cpu"}
        run_matrix("none", defense, "linear:epochs=2:batch_size=20", **words)
        cells = [json.loads(path.read_text()) for path in store.glob("cells/*.json")]
        return next(cell for cell in cells if cell["defense"]["name"] == defense)

    return run


def test_the_second_try_is_the_same_training(trained) -> None:
    whole, parts = trained(20), trained(5)
    assert "micro_batches" not in whole["logs"]["train"]
    assert parts["logs"]["train"] == {
        "micro_batches": PARTS,
        "first_try": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB.",
    }
    assert parts["artifacts"] == whole["artifacts"], "a key names results that are equal up to rounding"
    for a, b in zip(whole["curve"], parts["curve"], strict=True):
        assert b == pytest.approx(a, rel=1e-4)
    assert whole["curve"][0]["train_loss"] != whole["curve"][1]["train_loss"]


BATCH_NORM = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 25 * 25, 10))


@pytest.mark.parametrize(
    ("most", "inner", "defense", "note"),
    [
        (4, None, "none", "this was the second try, with each batch in 4 parts"),
        (5, BATCH_NORM, "none", "no second try with each batch in 4 parts: the layer inner.1 (BatchNorm2d) computes"),
        (5, None, "cutout", "in 4 parts: the loss of defense 'cutout:size=16' may compute with all images of a batch"),
    ],
    ids=["too little", "batch norm", "defense"],
)
def test_what_parts_cannot_help_is_a_recorded_failure(trained, most, inner, defense, note) -> None:
    error = trained(most, inner, defense)["error"]
    assert (error["kind"], error["stage"]) == ("OutOfMemoryError", "train")
    assert error["message"].startswith("the GPU is out of memory (CUDA out of memory. Tried to allocate 2.00 GiB); end")
    assert note in error["message"]
