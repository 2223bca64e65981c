"""Adversarial training: the attack's invariants, plain training at radius 0, recipes, and the overfitting guard."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import run_matrix
from bench.api import Recipe
from bench.errors import UserError
from bench.plan.describe import faces
from bench.registry import defenses
from bench.select.spec import select
from bench.stages.train import changed_recipe
from bench.store.artifacts import Store
from bench.store.results import read_cell
from bench.training import Batches, build, cross_entropy, fit, to_float
from defenses.adversarial_training import AdversarialTraining, FastAdversarialTraining
from defenses.adversarial_training.overfitting import overfits

CPU = torch.device("cpu")


def small(classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, classes)
    )


@pytest.fixture
def batch(random_set):
    images = random_set(24)
    return to_float(images.images), images.labels


@pytest.fixture
def model(random_set, make_context):
    """A network that has learned the random images a little, so that its gradients mean something."""
    images, ctx = random_set(), make_context()
    network = build(small, ctx)
    found = Batches(images, CPU, 8, ctx.generator("order"))
    fit(network, found, cross_entropy(network), Recipe(epochs=3, batch_size=8, lr=0.02), ctx)
    network.zero_grad()
    return network.train()


def loss(model, images, labels):
    model.eval()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(images), labels))


VARIANTS = [
    AdversarialTraining(),
    AdversarialTraining(eps=4 / 255, steps=3),
    AdversarialTraining(eps=0.75, norm="l2"),
    AdversarialTraining(steps=2, step_size=0.1),
    FastAdversarialTraining(),
    FastAdversarialTraining(eps=0.2),
]


@pytest.mark.parametrize("defense", VARIANTS, ids=str)
def test_attacked_images_are_near_valid_and_worse(defense, model, batch):
    images, labels = batch
    before = images.clone()
    hostile = defense.attack(model, images, labels, torch.Generator().manual_seed(0))
    moved = hostile - images
    if getattr(defense, "norm", "linf") == "linf":
        assert float(moved.abs().max()) <= defense.eps + 1e-6
        assert float(moved.abs().max()) > 0.9 * defense.eps
    else:
        assert float(moved.flatten(1).norm(dim=1).max()) <= defense.eps + 1e-5
    assert 0 <= float(hostile.min()) <= float(hostile.max()) <= 1
    assert torch.equal(images, before)
    assert loss(model, hostile, labels) > loss(model, images, labels) + 0.05


@given(eps=st.floats(0.001, 0.5), value=st.sampled_from([0.0, 0.001, 0.5, 1.0]))
def test_any_radius_keeps_ball_and_box(eps, value):
    torch.manual_seed(0)
    images = torch.full((2, 3, 8, 8), value)
    for defense in (AdversarialTraining(eps=eps, steps=2), FastAdversarialTraining(eps=eps)):
        hostile = defense.attack(small(), images, torch.tensor([0, 1]), torch.Generator().manual_seed(1))
        assert float((hostile - images).abs().max()) <= eps + 1e-6
        assert 0 <= float(hostile.min()) <= float(hostile.max()) <= 1


def test_more_steps_find_worse_images(model, batch):
    images, labels = batch

    def found(steps):
        attack = AdversarialTraining(steps=steps).attack
        return loss(model, attack(model, images, labels, torch.Generator().manual_seed(0)), labels)

    assert found(1) < found(10)


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (AdversarialTraining(), 2 / 255),
        (AdversarialTraining(eps=4 / 255), 1 / 255),
        (AdversarialTraining(step_size=0.01), 0.01),
        (AdversarialTraining(eps=0.75, norm="l2", steps=5), 0.375),
        (AdversarialTraining(steps=2), 8 / 255),
        (AdversarialTraining(steps=5, travel=1.25), 2 / 255),
        (AdversarialTraining(eps=4 / 255, steps=5, travel=1.25), 1 / 255),
        (FastAdversarialTraining(), 10 / 255),
        (FastAdversarialTraining(eps=0.2, step_size=0.1), 0.1),
    ],
)
def test_step_size_and_start(monkeypatch, batch, defense, expected):
    images, labels = batch
    seen = {}

    def record(model, images_01, targets, **options):
        seen.update(options)
        return torch.zeros_like(images_01)

    monkeypatch.setattr("defenses.adversarial_training.pgd", record)
    defense.attack(small(), images, labels, torch.Generator().manual_seed(0))
    assert seen["direction"] == "maximize"
    assert seen["step_size"] == pytest.approx(expected)
    assert seen["steps"] == getattr(defense, "steps", 1)
    start = seen["start"]
    if isinstance(defense, FastAdversarialTraining):
        assert float(start.abs().max()) <= defense.eps
        assert 0 <= float((images + start).min()) <= float((images + start).max()) <= 1
    elif defense.norm == "linf":
        assert float(start.std()) == pytest.approx(expected, rel=0.05), "Gaussian, of one step's size"
        assert float(start.abs().max()) > 2 * expected, "and neither clipped nor projected"
    else:
        assert float(start.flatten(1).norm(dim=1).max()) <= defense.eps + 1e-5


def trained(images, ctx, defense, recipe):
    network = build(small, ctx)
    found = Batches(images, CPU, 8, ctx.generator("order"), crop_padding=1, flip=True)
    plain = cross_entropy(network)
    chosen = plain if defense is None else lambda b: defense.batch_loss(network, b.images_01, b.labels, ctx)
    fit(network, found, chosen, changed_recipe(defense, recipe), ctx)
    return network.state_dict()


@pytest.mark.parametrize(
    "defense", [AdversarialTraining(eps=0, epochs=None, schedule="victim"), FastAdversarialTraining(eps=0, epochs=None)]
)
def test_radius_zero_is_plain_training(random_set, make_context, defense):
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05)
    attacked, plain, other = (
        trained(random_set(), make_context(3), chosen, recipe)
        for chosen in (defense, None, replace(defense, eps=8 / 255))
    )
    assert all(torch.equal(attacked[name], plain[name]) for name in plain), "weights or running statistics differ"
    assert any(not torch.equal(other[name], plain[name]) for name in plain)


@pytest.mark.parametrize("defense", [AdversarialTraining(), FastAdversarialTraining(check_every=1)])
def test_only_the_training_pass_moves_running_statistics(model, batch, make_context, defense):
    images, labels = batch
    ctx = make_context()
    hostile = defense.attack(model, images, labels, make_context().stream("attack-start"))
    expected = small()
    expected.load_state_dict(model.state_dict())
    expected.train()(hostile)
    defense.batch_loss(model, images, labels, ctx).backward()
    torch.testing.assert_close(model[1].running_mean, expected[1].running_mean)
    torch.testing.assert_close(model[1].running_var, expected[1].running_var)
    assert int(model[1].num_batches_tracked) == int(expected[1].num_batches_tracked)


def test_the_gradient_is_that_of_the_loss_on_the_attacked_images(model, batch, make_context):
    images, labels = batch
    defense = AdversarialTraining()
    hostile = defense.attack(model, images, labels, make_context().stream("attack-start"))
    twin = copy.deepcopy(model)  # the pass moves its running statistics, which an attack sees
    nn.functional.cross_entropy(twin(hostile), labels).backward()
    defense.batch_loss(model, images, labels, make_context()).backward()
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)


def test_every_batch_draws_a_new_start_and_a_seed_repeats_them(model, batch, make_context):
    images, labels = batch
    for defense in (AdversarialTraining(steps=1), FastAdversarialTraining()):
        one, two = (make_context(4) for _ in range(2))
        first, again = (defense.attack(model, images, labels, context.stream("attack-start")) for context in (one, two))
        second = defense.attack(model, images, labels, one.stream("attack-start"))
        assert torch.equal(first, again)
        assert not torch.equal(first, second)


@pytest.mark.parametrize("defense", [AdversarialTraining(steps=2), FastAdversarialTraining(check_every=1)])
def test_a_batch_never_waits_for_the_device(model, batch, make_context, no_reading, defense):
    ctx = make_context()
    with no_reading():
        defense.batch_loss(model, *batch, ctx).backward()


def test_recipes():
    paper = Recipe()
    assert AdversarialTraining().change_recipe(paper) == replace(
        paper, epochs=100, schedule="multistep", milestones=(75, 90)
    )
    assert FastAdversarialTraining().change_recipe(paper) == replace(paper, epochs=15, schedule="one-cycle")
    warm = Recipe(epochs=30, schedule="cosine", warmup_epochs=2.0)
    assert AdversarialTraining(epochs=None).change_recipe(warm).milestones == (22, 27)
    assert AdversarialTraining(epochs=5, schedule="victim").change_recipe(warm) == replace(
        warm, epochs=5, warmup_epochs=1.0
    )
    assert FastAdversarialTraining(epochs=None).change_recipe(warm) == warm
    assert changed_recipe(select(defenses, "iss-jpeg")[0].component, paper) is paper


@pytest.mark.parametrize("name", ["at", "at-fast"])
def test_acts_during_training_only(name):
    acts = faces(select(defenses, name)[0].component)
    assert [face for face, there in acts.items() if there] == ["trains_differently", "changes_recipe"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("at:eps=-1/255", "eps must be a finite number >= 0"),
        ("at:eps=nan", "not a number"),
        ("at:eps=inf", "eps must be a finite number >= 0"),
        ("at:eps=8", "write eps=8/255"),
        ("at:norm=l1", "linf"),
        ("at:norm=l2", "write eps=0.75"),
        ("at:steps=0", "steps must be a finite number > 0"),
        ("at:step_size=0", "step_size must be a finite number > 0"),
        ("at:travel=0", "travel must be a finite number > 0"),
        ("at:epochs=0", "epochs must be a finite number > 0"),
        ("at:schedule=cosine", "victim"),
        ("at-fast:eps=8", "write eps=8/255"),
        ("at-fast:check_every=0", "check_every must be a finite number > 0"),
    ],
)
def test_nonsense_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        select(defenses, text)
    if text.startswith("at:norm=l1"):
        with pytest.raises(ValueError, match="norm must be linf or l2"):
            AdversarialTraining(norm="l1")


class TestOverfitting:
    @pytest.mark.parametrize(
        ("single", "several", "expected"),
        [
            (0.95, 0.0, True),
            (0.5, 0.2, True),
            (0.5, 0.42, False),
            (0.6, 0.35, False),
            (0.18, 0.0, False),
            (0.1, 0.1, False),
            (0.3, 0.9, False),
        ],
    )
    def test_rule(self, single, several, expected):
        assert overfits(single, several) is expected

    def run(self, network, images, labels, ctx, defense, batches):
        for _ in range(batches):
            defense.batch_loss(network, images, labels, ctx)

    def test_fires_for_a_network_that_hides_from_the_single_step(self, make_context):
        """Right at the images and at every corner of the ball (where a single step ends), wrong half-way between."""

        class Hiding(nn.Module):
            def __init__(self):
                super().__init__()
                self.unused = nn.Parameter(torch.zeros(()))

            def forward(self, images):
                distance = (images - 0.5).abs().flatten(1).mean(1) * 255
                right = 3 - 3 * torch.exp(-(((distance - 5) / 1.5) ** 2))
                return torch.stack([right + self.unused, torch.full_like(right, 1.0)], dim=1)

        images, labels = torch.full((20, 3, 8, 8), 0.5), torch.zeros(20, dtype=torch.int64)
        ctx = make_context()
        self.run(Hiding(), images, labels, ctx, FastAdversarialTraining(check_every=3), 7)
        assert ctx.recorded()["catastrophic_overfitting"] is True
        assert ctx.logs["catastrophic_overfitting_batches"] == [3, 6]
        assert ctx.logs["checked_batches"] == [3, 6]
        assert min(ctx.logs["single_step_accuracy"]) > 0.9
        assert max(ctx.logs["several_step_accuracy"]) < 0.1

    def test_is_silent_for_an_ordinary_network(self, model, batch, make_context):
        ctx = make_context()
        self.run(model, *batch, ctx, FastAdversarialTraining(check_every=2), 4)
        assert ctx.recorded()["catastrophic_overfitting"] is False
        assert ctx.logs["catastrophic_overfitting_batches"] == []
        assert len(ctx.logs["single_step_accuracy"]) == len(ctx.logs["several_step_accuracy"]) == 2

    def test_the_checks_do_not_change_the_training(self, random_set, make_context):
        recipe = Recipe(epochs=2, batch_size=8, lr=0.05)
        often, never = (
            trained(random_set(), make_context(1), FastAdversarialTraining(epochs=None, check_every=every), recipe)
            for every in (1, 1000)
        )
        assert all(torch.equal(often[name], never[name]) for name in never)

    def test_says_that_it_was_not_checked(self, model, batch, make_context):
        ctx = make_context()
        self.run(model, *batch, ctx, FastAdversarialTraining(check_every=5), 4)
        assert ctx.recorded() == {"catastrophic_overfitting": "not checked"}


def test_a_cell_is_trained_by_the_changed_recipe_and_says_so(tmp_path):
    frame = run_matrix(
        "none",
        "at:steps=1:epochs=2:schedule=multistep",
        "linear:epochs=3",
        dataset="shapes:train=96:test=32",
        preset="demo",
        store=tmp_path / "results",
        data_root=tmp_path,
        device="cpu",
    )
    assert list(frame.status) == ["done", "done"]
    cells = [read_cell(path) for path in (tmp_path / "results" / "cells").glob("*.json")]
    defended, plain = sorted(cells, key=lambda cell: cell.defense.name)
    assert [len(defended.curve), len(plain.curve)] == [2, 3]
    changes = "epochs 3 -> 2, schedule one-cycle -> multistep, milestones () -> (2, 2)"
    assert defended.logs["train"]["recipe_changes"] == changes
    assert "recipe_changes" not in plain.logs["train"]
    store = Store(tmp_path / "results")
    assert store.manifest("train", defended.artifacts["train"]).payload["recipe"]["epochs"] == 2
    assert store.manifest("train", plain.artifacts["train"]).payload["recipe"]["epochs"] == 3
