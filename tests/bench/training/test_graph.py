"""Replayed steps, with a stand-in for CUDA graphs: it repeats recorded operations on their tensors, without Python."""

import random
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.api import Recipe
from bench.api.engine import Engine
from bench.errors import UserError
from bench.registry import attacks, defenses
from bench.select.spec import select
from bench.training import Batches, Stepper, build, cross_entropy, fit, graph, rehearsal

CPU = torch.device("cpu")
# Learning rates that float32 holds exactly, so that those of a graph are those of plain steps.
RECIPE = Recipe(epochs=3, batch_size=8, lr=1 / 16, schedule="constant")


class Recorded(TorchDispatchMode):
    """Of a step. Recording runs it once, which capturing does not: the first replay is that run."""

    def __init__(self):
        super().__init__()
        self.operations = []
        self.replays = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        self.replays += 1
        if self.replays == 1:
            return
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, result in self.operations:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                        old.copy_(new)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that were made, in order; the CPU is taken for a device that has them."""
    made = []

    def capture(step):
        made.append(Recorded())
        with made[-1]:
            step()
        return made[-1]

    monkeypatch.setattr(graph, "capture", capture)
    monkeypatch.setattr(graph, "possible", lambda device: True)
    return made


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )


def train(images, ctx, mode, loss_of=lambda model, ctx: cross_entropy(model), recipe=RECIPE, replayable=True):
    ctx = replace(ctx, engine=Engine(mode))
    model = build(network, ctx)
    batches = Batches(images, CPU, recipe.batch_size, ctx.generator("order"), crop_padding=1, flip=True)
    losses = fit(model, batches, loss_of(model, ctx), recipe, ctx, replayable=replayable)
    return model.state_dict(), losses, ctx.recorded()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def defended(name):
    component = defenses[name].cls()
    return lambda model, ctx: lambda batch: component.batch_loss(model, batch.images_01, batch.labels, ctx)


@pytest.mark.parametrize("loss_of", [lambda model, ctx: cross_entropy(model), *map(defended, ("at", "mixup"))])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_replayed_training_is_the_plain_one_to_the_bit(random_set, make_context, graphs, loss_of, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    images = random_set(36)  # batches of 8, 8, 8, 8 and 4
    plain, losses, _ = train(images, make_context(3), "eager", loss_of, recipe)
    assert not graphs
    replayed, again, logs = train(images, make_context(3), "graph", loss_of, recipe)
    assert losses == again
    assert same(plain, replayed)
    assert logs["test.fit.engine"] == "graph"
    assert logs["test.fit.graph_step_seconds"] > 0
    assert [made.replays for made in graphs] == [7, 3, 3, 3], "the rehearsal, then three of five batches in each epoch"


def test_a_loss_may_change_between_epochs(random_set, make_context, graphs):
    def loss_of(model, ctx):
        return lambda batch: cross_entropy(model)(batch) * (1 + batch.epoch)

    plain, replayed = (train(random_set(32), make_context(3), mode, loss_of) for mode in ("eager", "graph"))
    assert plain[1] == replayed[1]
    assert plain[1][1] > 1.5 * plain[1][0]


def test_the_stages_of_dvae_replay_with_their_sums(random_set, make_context, graphs):
    images = random_set(24)
    component = defenses["dvae"].cls(network="tiny", epochs=2, warmup_epochs=1, batch_size=8, lr=1 / 256)
    found = {}
    for mode in ("eager", "graph"):
        ctx = replace(make_context(3, "dvae"), engine=Engine(mode))
        found[mode] = component.purify(images, ctx).images, {k: v for k, v in ctx.logs.items() if "." not in k}
        assert all(ctx.logs.get(f"dvae-stage{stage}.fit.engine") == "graph" for stage in (1, 2)) == (mode == "graph")
    assert torch.equal(found["eager"][0], found["graph"][0])
    assert found["eager"][1] == found["graph"][1]


@pytest.mark.parametrize(
    "text",
    [
        "em:batch_size=16:batches_per_round=5:max_rounds=3:stop_error=0:steps=2:lr=1/64",  # batches of 16, 16 and 8
        "em:mode=class:batch_size=16:batches_per_round=4:max_rounds=3:stop_error=0:lr=1/64",
        "rem:batch_size=16:train_steps=5:steps=2:attacker_steps=1:samples=2:lr=1/16",
        "rem:batch_size=16:train_steps=5:steps=1:attacker_steps=0:samples=1:crop_padding=0:random_resized_crop=true:lr=1/16",
    ],
)
def test_attacks_replay_the_training_of_their_surrogate(random_set, make_context, graphs, text):
    """One capture serves all steps: of EM the noise changes between them, in place."""
    images = random_set(40)
    if "resized" in text:
        images = replace(images, aspect_ratios=torch.linspace(0.5, 2, 40))
    attack = select(attacks, text + ":surrogate=s-net")[0].component
    found, logs = {}, {}
    for mode in ("eager", "graph"):
        ctx = replace(make_context(3, "attack"), engine=Engine(mode))
        found[mode] = attack.poison(images, ctx).images
        logs[mode] = {name: value for name, value in ctx.recorded().items() if not name.startswith("attack.train.")}
        assert ctx.logs.get("attack.train.engine") == (None if mode == "eager" else "graph")
    assert torch.equal(found["eager"], found["graph"])
    assert not torch.equal(found["graph"], images.images)
    assert logs["eager"] == logs["graph"]
    assert len(graphs) == 2, "the rehearsal's and that of the training"
    assert graphs[0].replays == 7


def test_what_an_adaptive_attack_looks_through_is_not_replayed(random_set, make_context, graphs):
    """A defense's differentiable version may do anything."""
    attack = select(attacks, "em:surrogate=s-net:max_rounds=1:batches_per_round=1:steps=1")[0].component
    ctx = replace(make_context(), engine=Engine("graph"), through=lambda images, labels: images)
    attack.poison(random_set(8), ctx)
    assert ctx.logs["test.train.engine_reason"] == "the loss is not declared replayable"
    assert not graphs


def counting(period):
    """Falsely declared: a graph would keep the factor of the step that it captured. A rehearsal has 8 steps."""

    def loss_of(model, ctx):
        count = 0

        def loss(batch):
            nonlocal count
            count += 1
            return cross_entropy(model)(batch) * (1 + count % period)

        return loss

    return loss_of


def reading(model, ctx):
    def loss(batch):
        value = cross_entropy(model)(batch)
        return value if value.item() > 0 else 2 * value

    return loss


@pytest.mark.parametrize(
    ("loss_of", "replayable", "reason"),
    [
        (lambda model, ctx: cross_entropy(model), False, "the loss is not declared replayable"),
        (reading, True, "not captured: RuntimeError: operation not permitted when stream is capturing"),
        (counting(3), True, r"losses or weights of two plain runs differ by \d+.\d+%"),
        (counting(8), True, r"losses or weights differ by \d+.\d+% from plain ones"),
    ],
)
def test_what_cannot_be_replayed_runs_plainly_and_says_why(
    random_set, make_context, graphs, loss_of, replayable, reason
):
    images = random_set(24)
    plain, losses, _ = train(images, make_context(3), "eager")
    found, again, logs = train(images, make_context(3), "graph", loss_of, replayable=replayable)
    assert logs["test.fit.engine"] == "eager"
    assert re.match(reason, logs["test.fit.engine_reason"])
    if not reason.startswith("losses"):  # a count would go on after the rehearsal
        assert losses == again
        assert same(plain, found)


@pytest.mark.parametrize("kept", ["advance", "update"])
def test_a_replay_whose_rates_or_weights_stay_is_seen(random_set, make_context, graphs, monkeypatch, kept):
    """A training that begins with small rates hides both from the losses of its first steps."""
    plainly = getattr(Stepper, kept)
    monkeypatch.setattr(Stepper, kept, lambda self, *loss: None if self._capturable else plainly(self, *loss))
    recipe = replace(RECIPE, epochs=60, lr=1 / 256, optimizer="adamw", schedule="one-cycle")
    ctx = replace(make_context(), engine=Engine("graph"))
    model = build(network, ctx)
    batches = Batches(random_set(24), CPU, recipe.batch_size, ctx.generator("order"))
    groups = [{"params": list(model.parameters())}]
    assert not rehearsal.replays(model, batches, cross_entropy(model), groups, recipe, ctx, "fit", True)
    assert ctx.logs["test.fit.engine_reason"].startswith("losses or weights differ by ")


@pytest.mark.parametrize(("plain", "replayed", "chosen"), [(3.0, 1.0, "graph"), (1.0, 3.0, "eager")])
def test_auto_takes_the_faster(random_set, make_context, graphs, monkeypatch, plain, replayed, chosen):
    times = iter([0, 6 * plain, 0, 6 * plain, 0, 6 * replayed])
    monkeypatch.setattr(rehearsal, "_now", lambda device: next(times))
    logs = train(random_set(16), make_context(), "auto")[2]
    assert logs["test.fit.engine"] == chosen
    assert (logs["test.fit.eager_step_seconds"], logs["test.fit.graph_step_seconds"]) == (plain, replayed)
    assert logs.get("test.fit.engine_reason") == (None if chosen == "graph" else "not faster")


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine-epoch", "multistep"])
def test_learning_rates_on_the_device_are_the_schedules(schedule):
    recipe = Recipe(epochs=4, lr=0.3, schedule=schedule, milestones=(2,) if schedule == "multistep" else ())
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr_scale": 10.0}]
    plain, capturable = (Stepper(groups, recipe, 3, capturable=on) for on in (False, True))
    address = [group["lr"].data_ptr() for group in capturable._optimizer.param_groups]
    for _ in range(12):
        rates = [[float(g["lr"]) for g in s._optimizer.param_groups] for s in (plain, capturable)]
        assert rates[1] == pytest.approx(rates[0], rel=1e-7)
        plain.advance()
        capturable.advance()
    assert [group["lr"].data_ptr() for group in capturable._optimizer.param_groups] == address


@pytest.mark.parametrize("draw", [lambda: torch.rand(2), random.random])
def test_a_draw_on_the_cpu_is_not_captured(monkeypatch, draw):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda made, **settings: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    assert graph.capture(lambda: None) is None
    with pytest.raises(RuntimeError, match=r"draws random numbers on the CPU.*use ctx\.stream"):
        graph.capture(draw)


def test_engines_of_a_device():
    assert Engine.choose("cpu", "auto").mode == "eager"
    assert Engine.choose("cuda", "auto", precision="float32").mode == "auto"
    assert Engine("auto").label == ", float32, auto engine"
    with pytest.raises(UserError, match=r"engine graph needs a CUDA GPU.*--engine eager or auto"):
        Engine.choose("cpu", "graph")
