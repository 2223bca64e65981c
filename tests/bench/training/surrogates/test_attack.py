"""An attack written with `SurrogateAttack` gives the same bytes and logs as its twin written by hand."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional

from bench.api import STEP_PASSES, Budget, Recipe, perturb
from bench.errors import UserError
from bench.registry import Registry
from bench.training import Batches, fit, resident
from bench.training.pgd import pgd
from bench.training.surrogates import (
    Crafted,
    Passes,
    SurrogateAttack,
    build_surrogate,
    check_classes,
    chunks,
    load,
    report,
)

RECIPE = Recipe(epochs=2, batch_size=24, crop_padding=0, flip=False)


def trained(name, train, ctx):
    """A surrogate trained on clean images."""
    surrogate = build_surrogate(name, train.info, ctx)
    batches = Batches(train, ctx.device, 24, ctx.generator("order"))
    fit(surrogate, batches, lambda b: functional.cross_entropy(surrogate(b.images_01).float(), b.labels), RECIPE, ctx)
    return surrogate


def noise_of(surrogate, train, ctx, eps):
    """One gradient step away from the label."""
    found = torch.empty(train.images.shape)
    for rows in chunks(len(train), train.info.shape, ctx.device):
        images, labels = load(train, rows, ctx.device)
        budget, start = Budget("linf", eps), torch.zeros_like(images)
        found[rows] = pgd(
            surrogate, images, labels, direction="maximize", budget=budget, step_size=eps, steps=1, start=start
        )
    return found


@dataclass(frozen=True)
class OneStep(SurrogateAttack):
    """One gradient step."""

    def passes_per_image(self, images):
        return 2 * STEP_PASSES

    def craft(self, train, ctx, passes):
        surrogate = trained(self.surrogate, train, ctx)
        passes.training += 2 * len(train)
        noise = noise_of(surrogate, train, ctx, self.eps)
        passes.gradient += len(train)
        return Crafted(surrogate, lambda rows: noise[rows], converged=not passes.spent())


def by_hand(train, ctx, eps, max_passes=None):
    """The same without the base."""
    check_classes(train)
    passes = Passes(max_passes)
    near = resident(train, ctx.device)
    surrogate = trained("s-net", near, ctx)
    noise = noise_of(surrogate, near, ctx, eps)
    passes.training, passes.gradient = 2 * len(train), len(train)
    poisoned = perturb(train, lambda rows: noise[rows], ctx, linf=eps)
    passes.log(ctx, converged=not passes.spent())
    report(surrogate, train, poisoned, ctx)
    return poisoned


@pytest.mark.parametrize("max_passes", [None, 100])
def test_it_poisons_and_logs_like_its_twin(learnable_set, make_context, max_passes):
    train, ours, theirs = learnable_set(count=96), make_context(), make_context()
    poisoned = OneStep(eps=4 / 255, surrogate="s-net", max_passes=max_passes).poison(train, ours)
    assert torch.equal(poisoned.images, by_hand(train, theirs, 4 / 255, max_passes).images)
    assert ours.recorded() == theirs.recorded()
    assert ours.recorded()["converged"] is (max_passes is None)
    assert not torch.equal(poisoned.images, train.images)


def test_work_is_known_unless_a_limit_ends_it_earlier(learnable_set):
    info = learnable_set().info
    assert OneStep(surrogate="s-net").work(info, 96).passes == 2 * STEP_PASSES
    assert OneStep(surrogate="s-net", max_passes=9).work(info, 96) is None
    assert OneStep(surrogate="s-net", max_seconds=9).work(info, 96) is None


def test_one_class_is_refused_where_only_it_is_seen(learnable_set):
    train = learnable_set()
    OneStep(classes="1").check_fit(train)
    with pytest.raises(UserError, match="at least 2 classes, got 30 images of 1"):
        OneStep(classes="1", craft_on="subset").check_fit(train)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"eps": 8}, "write eps=8/255"),
        ({"surrogate": "resnet"}, "unknown surrogate 'resnet'"),
        ({"batch_size": 1}, "at least 2 images"),
        ({"lr": 0}, "lr must be a finite number > 0"),
        ({"poison_rate": 0}, "poison_rate must be in"),
    ],
)
def test_parameters_of_the_base_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        OneStep(**wrong)


def test_an_attack_without_craft_is_not_registered():
    @dataclass(frozen=True)
    class Empty(SurrogateAttack):
        """Does nothing."""

    with pytest.raises(TypeError, match="attack 'empty': Empty must define craft"):
        Registry("attack", "no.group").register("empty")(Empty)
