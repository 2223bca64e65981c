"""The contracts of training-time defenses catch what goes wrong in practice."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional

from bench import contracts
from bench.api import Recipe
from bench.errors import ContractError
from bench.registry import Entry
from bench.spec import Selected


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


class Fickle(Plain):
    seen: list = []  # noqa: RUF012

    def change_recipe(self, recipe):
        self.seen.append(recipe)
        return replace(recipe, epochs=100 + len(self.seen))


CHECKS = [
    check for check in contracts.CHECKS["defenses"] if "batch_loss" in check.__name__ or "recipe" in check.__name__
]


def run(cls, tiny):
    component = cls()
    for check in CHECKS:
        check(Selected(cls.__name__, Entry(cls.__name__, cls), component, {}), tiny)


def test_a_plain_loss_passes(tiny):
    assert len(CHECKS) == 4
    run(Plain, tiny)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Infinite, "finite scalar"),
        (PerSample, "finite scalar"),
        (Accumulates, "leaves gradients in the parameters"),
        (LeavesEval, "every module in the mode"),
        (ForgetsModes, "every module in the mode"),
        (Unfreezes, "requires_grad as it was"),
        (Steps, "changes parameters"),
        (AttacksInTrainMode, "moves the running statistics"),
        (DrawsGlobally, "two runs with the same seed differ"),
        (NoRecipe, "expected a Recipe"),
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

    run(Longer, tiny)
