"""Training of a surrogate on clean images with crops and flips, as HYPO and SEP do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from bench.api import Context, ImageSet, Recipe
from bench.training.batches import Batches
from bench.training.loop import cross_entropy, fit
from bench.training.surrogates.networks import labeled_loss


def step_decay(epochs: int, decays: Iterable[float], **settings: Any) -> Recipe:
    """A recipe whose learning rate falls by 10 after each of these shares of its epochs, without gradient clipping."""
    milestones = tuple(milestone for share in decays if (milestone := round(share * epochs)) > 0)
    return Recipe(epochs=epochs, schedule="multistep", milestones=milestones, clip_grad_norm=None, **settings)


def train_on_clean(
    surrogate: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    ctx: Context,
    after_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Trains by the recipe, whose `drop_last` does not count: only a last batch of a single image is left out.

    Such a batch has no batch statistics.
    """
    recipe = replace(recipe, drop_last=len(train) % recipe.batch_size == 1)
    batches, loss = Batches.of_recipe(train, recipe, ctx), labeled_loss(surrogate, cross_entropy(surrogate))
    fit(surrogate, batches, loss, recipe, ctx, phase="surrogate", after_epoch=after_epoch)
