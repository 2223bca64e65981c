"""The contracts of training-time defenses catch what goes wrong in practice."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional

from bench.api import Recipe
from bench.check.contracts import checks_of
from bench.errors import ContractError
from bench.registry import Entry
from bench.select.spec import Selected


@dataclass(frozen=True)
class Plain:
    """A defense that changes nothing."""

    def purify(self, train, ctx):
        return train

    def batch_loss(self, model, images_01, labels, ctx):
        return functional.cross_entropy(model(images_01), labels)


class Infinite(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        return super().batch_loss(model, images_01, labels, ctx) / 0


class PerSample(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        return functional.cross_entropy(model(images_01), labels, reduction="none")


class Cancels(Plain):
    """Subtracts large numbers that are close to each other."""

    def batch_loss(self, model, images_01, labels, ctx):
        logits = model(images_01)
        return (
            functional.cross_entropy(logits, labels) + (1000 * (logits + 300 - 300 - logits.detach())).square().mean()
        )


class Accumulates(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        functional.cross_entropy(model(images_01.requires_grad_()), labels).backward()
        return super().batch_loss(model, images_01, labels, ctx)


class LeavesEval(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        return super().batch_loss(model.eval(), images_01, labels, ctx)


class ForgetsModes(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        model.eval()
        model.train()  # and what was in eval mode before?
        return super().batch_loss(model, images_01, labels, ctx)


class Unfreezes(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        model.requires_grad_(False)
        model.requires_grad_(True)
        return super().batch_loss(model, images_01, labels, ctx)


class Steps(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        with torch.no_grad():
            model[-1].weight.mul_(0.9)
        return super().batch_loss(model, images_01, labels, ctx)


class AttacksInTrainMode(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        leaf = images_01.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(model(leaf), labels), leaf)
        return super().batch_loss(model, images_01 + 0.01 * gradient.sign(), labels, ctx)


class DrawsGlobally(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        return super().batch_loss(model, images_01 + torch.randn_like(images_01), labels, ctx)


class NoRecipe(Plain):
    def change_recipe(self, recipe):
        return replace(recipe, epochs=5).epochs


class LowersTheRate(Plain):
    def change_recipe(self, recipe):
        return replace(recipe, lr=recipe.lr - 0.1)


class Fickle(Plain):
    seen: list = []  # noqa: RUF012

    def change_recipe(self, recipe):
        self.seen.append(recipe)
        return replace(recipe, epochs=100 + len(self.seen))


class StartsAgain(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        noise = torch.randn(images_01.shape, generator=ctx.generator("noise"))
        return super().batch_loss(model, images_01 + 0.1 * noise, labels, ctx)


class SeedsItself(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        _ = torch.rand(2, generator=ctx.stream("another"))
        noise = torch.randn(images_01.shape, generator=torch.Generator().manual_seed(ctx.seed))
        return super().batch_loss(model, images_01 + 0.1 * noise, labels, ctx)


class SeedsTheProcess(Plain):
    def batch_loss(self, model, images_01, labels, ctx):
        torch.manual_seed(0)
        return super().batch_loss(model, functional.dropout(images_01), labels, ctx)


class Streams(Plain):
    """Draws anew, by all the right means; the coin of probability 1 is no draw that repeats."""

    def batch_loss(self, model, images_01, labels, ctx):
        mine = ctx.state("mine", lambda: ctx.generator("mine"))
        fixed = ctx.state("fixed", lambda: torch.rand(3, 1, 1, generator=ctx.generator("fixed")))
        coins = torch.empty(len(images_01), 1, 1, 1).bernoulli_(1.0, generator=ctx.stream("coins"))
        noise = torch.rand(images_01.shape, generator=mine) + torch.rand(images_01.shape, generator=ctx.stream("noise"))
        return super().batch_loss(model, images_01 + 0.1 * coins * fixed * noise, labels, ctx)


def run(cls, tiny):
    selected = Selected(cls.__name__, Entry(cls.__name__, cls), cls(), {})
    checks = [c for c in checks_of("defenses", selected) if "batch_loss" in c.__name__ or "recipe" in c.__name__]
    for check in checks:
        check(selected, tiny)
    return len(checks)


@pytest.mark.parametrize("cls", [Plain, Streams])
def test_a_right_loss_passes(tiny, cls):
    assert run(cls, tiny) == 5, "a recipe that is not changed is no contract"


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Infinite, "finite scalar"),
        (PerSample, "finite scalar"),
        (Cancels, r"the loss is 2.* in float32 and .* in bfloat16; take \.float"),
        (Accumulates, "leaves gradients in the parameters"),
        (LeavesEval, "every module in the mode"),
        (ForgetsModes, "every module in the mode"),
        (Unfreezes, "requires_grad as it was"),
        (Steps, "changes parameters"),
        (AttacksInTrainMode, "moves the running statistics"),
        (DrawsGlobally, "two runs with the same seed differ"),
        (StartsAgain, r"use ctx\.stream\('noise'\), which continues"),
        (SeedsItself, r"torch\.randn draws the same numbers at each of 8 batches; draw from ctx\.stream"),
        (SeedsTheProcess, r"torch\.bernoulli draws the same numbers"),
        (NoRecipe, "expected a Recipe"),
        (LowersTheRate, "change_recipe fails for a recipe with epochs 60, .*: lr must be a finite number > 0, got 0"),
        (Fickle, "change_recipe gives"),
    ],
)
def test_is_caught(tiny, cls, message):
    with pytest.raises(ContractError, match=message):
        run(cls, tiny)


def test_a_loss_without_gradient_is_caught(tiny):
    class Constant(Plain):
        def batch_loss(self, model, images_01, labels, ctx):
            return super().batch_loss(model[:-1], images_01, labels, ctx)

    with pytest.raises(ContractError, match="no gradient to the model"):
        run(Constant, tiny)


def test_a_recipe_may_change(tiny):
    class Longer(Plain):
        def change_recipe(self, recipe: Recipe) -> Recipe:
            return replace(recipe, epochs=2 * recipe.epochs)

    assert run(Longer, tiny) == 6


def test_a_recipe_may_become_a_single_epoch(tiny):
    class Shorter(Plain):
        def change_recipe(self, recipe: Recipe) -> Recipe:
            return replace(recipe, epochs=1)

    assert run(Shorter, tiny) == 6
