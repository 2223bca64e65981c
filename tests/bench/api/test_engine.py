"""Compiled steps, their rehearsal, and the deterministic mode."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bench import run_matrix, training
from bench.api import Recipe
from bench.api.engine import Engine
from bench.errors import UserError
from bench.measure.cost import Meter
from bench.registry import defenses
from bench.stages.jobs import Job
from bench.stages.session import Session
from bench.stages.train import loss_of
from bench.training import Batches, build, cross_entropy, fit, predict

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=8, lr=0.05)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )


def train(images, ctx, loss_of=lambda model, ctx: cross_entropy(model), rehearse=False):
    model = build(network, ctx)
    batches = Batches(images, CPU, RECIPE.batch_size, ctx.generator("order"), crop_padding=1, flip=True)
    loss = loss_of(model, ctx)
    if rehearse:
        training.rehearse(model, batches, loss, RECIPE, ctx)
    losses = fit(model, batches, loss, RECIPE, ctx)
    return model.state_dict(), losses


def adversarial(name):
    def loss_of(model, ctx):
        component = defenses[name].cls(**({"check_every": 1} if name == "at-fast" else {}))
        return lambda batch: component.batch_loss(model, batch.images_01, batch.labels, ctx)

    return loss_of


@pytest.mark.parametrize(
    "loss_of", [lambda model, ctx: cross_entropy(model), adversarial("at"), adversarial("at-fast")]
)
def test_a_rehearsal_leaves_no_trace(random_set, make_context, loss_of):
    images = random_set(20)
    torch.manual_seed(1)
    plain, rehearsed = make_context(3), make_context(3)
    before = torch.random.get_rng_state()
    expected, losses = train(images, plain, loss_of)
    found, again = train(images, rehearsed, loss_of, rehearse=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert losses == again
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert plain.logs == rehearsed.logs


def test_a_rehearsal_sees_no_training_image_and_every_batch_size(random_set, make_context):
    images, ctx, seen = random_set(20), make_context(), []
    model = build(network, ctx)
    batches = Batches(images, CPU, 8, ctx.generator("order"))

    def loss(batch):
        seen.append(batch.images_01)
        return cross_entropy(model)(batch)

    training.rehearse(model, batches, loss, RECIPE, ctx)
    assert [len(found) for found in seen] == [4, 8]
    known = images.images.float().div(255).flatten(1)
    assert torch.cdist(torch.cat(seen).flatten(1), known).min() > 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loss_leaves_nothing_of_a_rehearsal_on_the_network_or_the_context(random_set, make_context):
    """A rehearsal is not charged, so what a defense could compute in it must not be there in the training."""
    images, ctx = random_set(20), make_context()
    model = build(network, ctx)
    batches = Batches(images, CPU, 8, ctx.generator("order"))
    norm, values = model[1], {name: value.clone() for name, value in model.state_dict().items()}
    layers, attributes, around = list(model), set(vars(model)), dict(vars(ctx))

    def loss(batch):
        value = cross_entropy(model)(batch)
        model.fitted = norm.weight.fitted = ctx.fitted = torch.ones(1)
        model.register_buffer("table", torch.ones(1))
        model.append(nn.Identity())
        norm.register_forward_hook(lambda *_: None)
        norm.__class__ = type("Fitted", (nn.BatchNorm2d,), {})
        norm.eval().weight.requires_grad_(False).data.mul_(2)
        del model[0].bias
        model[0].bias = nn.Parameter(torch.ones(4))
        (ctx.scratch / "fitted").touch()
        return value

    training.rehearse(model, batches, loss, RECIPE, ctx)
    assert list(model) == layers
    assert set(vars(model)) == attributes
    assert (type(norm), norm.training, len(norm._forward_hooks)) == (nn.BatchNorm2d, True, 0)
    assert norm.weight.requires_grad
    assert not vars(norm.weight)
    assert model.state_dict().keys() == values.keys()
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
    assert vars(ctx) == around
    assert not list(ctx.scratch.iterdir())


def test_a_rehearsal_has_a_defense_of_its_own(random_set, make_context):
    calls = []

    @dataclass(frozen=True)
    class Counts:
        def batch_loss(self, model, images_01, labels, ctx):
            vars(self)["calls"] = vars(self).get("calls", 0) + 1
            calls.append(vars(self)["calls"])
            return nn.functional.cross_entropy(model(images_01), labels)

    ctx = make_context()
    model = build(network, ctx)
    batches = Batches(random_set(20), CPU, 8, ctx.generator("order"))
    fit(model, batches, loss_of(Counts(), model, ctx), RECIPE, ctx)
    assert calls == [1, 2, *range(1, 7)], "a batch of either size, then two epochs of three"


def test_every_engine_rehearses_before_the_clock_of_the_phase_starts(random_set, make_context):
    meter, seen = Meter(CPU), []
    ctx = replace(make_context(), meter=meter)
    model = build(network, ctx)
    batches = Batches(random_set(20), CPU, 8, ctx.generator("order"))

    def loss(batch):
        seen.append("fit" in meter._open)
        return cross_entropy(model)(batch)

    with meter:
        fit(model, batches, loss, RECIPE, ctx)
    assert seen == [False] * 2 + [True] * 6, "a batch of either size, then two epochs"
    phases = meter.cost().phases
    assert phases["warm"] > 0
    assert meter.cost().wall_seconds >= phases["fit"]


def test_only_training_calls_are_compiled_and_warming_is_a_phase(random_set, make_context, monkeypatch):
    """With the compiler replaced by one that counts: graphs, and the calls of each."""
    graphs = []

    def counting(graph, example):
        calls = [0]
        graphs.append(calls)

        def run(*inputs):
            calls[0] += 1
            return graph(*inputs)

        return run

    compile_in_place = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_in_place(self, backend=counting))
    images, ctx = random_set(20), make_context()
    meter = Meter(CPU)
    ctx = replace(ctx, engine=Engine("compile"), meter=meter)
    model = build(network, ctx)
    batches = Batches(images, CPU, 8, ctx.generator("order"), drop_last=True)
    predictions = []
    with meter:
        fit(
            model,
            batches,
            cross_entropy(model),
            RECIPE,
            ctx,
            after_epoch=lambda epoch, loss: predictions.append(predict(model, images.images, CPU, 7)),
        )
    assert graphs == [[1 + 2 * 2]], "one graph: a rehearsal and two batches in each of two epochs"
    assert set(meter.cost().phases) == {"warm", "fit"}
    predict(model, images.images, CPU, 3)
    assert graphs == [[5]]
    assert len(predictions) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="install a C++ compiler, for example: apt install g++")
def test_compiled_training_equals_eager_training_but_for_rounding(random_set, make_context):
    eager = train(random_set(20), make_context(3))[1]
    compiled = train(random_set(20), replace(make_context(3), engine=Engine("compile")))[1]
    assert compiled == pytest.approx(eager, rel=1e-4)


def test_without_a_compiler_only_an_explicit_wish_is_an_error(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert Engine.choose("cpu") == Engine()
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler.*--engine eager"):
        Engine.choose("cpu", "compile")


def test_deterministic_mode_is_on_inside_and_off_after():
    with Engine(deterministic=True).applied():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_float32_convolutions_do_not_use_tf32():
    assert torch.backends.cudnn.allow_tf32
    with Engine().applied():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_the_engine_travels_with_a_job():
    how = Engine("compile", True, "bfloat16")
    session = Session("shapes", ("a", "b"), Path("s"), Path("d"), "cpu", how, 2, ("p.py",), 3, "bench run")
    assert Session.from_json(session.to_json()) == session
    job = Job("train", "k", {}, "linear", "", 0, {"purify": "p"})
    assert Job.from_json(job.to_json()) == job


def test_a_run_says_which_engine_it_had(tmp_path):
    options = {"preset": "demo", "dataset": "shapes:train=40:test=20", "victims": "linear:epochs=1"}
    cells = run_matrix("none", "none", store=tmp_path, deterministic=True, **options)
    assert cells.loc[0, "device"].endswith("deterministic")
    assert cells.loc[0, "provenance_deterministic"] == "true"
    assert cells.loc[0, "provenance_engine"] == "eager"
