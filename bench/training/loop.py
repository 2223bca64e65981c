"""The one training loop: victims, purifiers and surrogates all use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import Context, Recipe
from bench.training.batches import Batch, Batches
from bench.training.numbers import autocast
from bench.training.optimizer import Stepper
from bench.training.seeding import seeded
from bench.training.snapshot import restored

Loss = Callable[[Batch], Tensor]


class TrainingDivergedError(Exception):
    """The loss became NaN or infinite; the message names the epoch and the learning rate."""


def cross_entropy(model: nn.Module) -> Loss:
    """The plain loss: mean cross-entropy of the model's logits."""
    return lambda batch: functional.cross_entropy(model(batch.images_01).float(), batch.labels)


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    recipe: Recipe,
    ctx: Context,
    *,
    phase: str = "fit",
    parameter_groups: Iterable[dict[str, Any]] | None = None,
    after_epoch: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Trains `model` by the recipe.

    A rehearsal precedes the first step, so that loading, allocation and compilation at first use are not charged to the
    training that happens to be first: they are the phase `warm`. Where `ctx.engine` compiles, calls of `model` are
    compiled.

    Args:
        model: on `ctx.device`; put into train mode at every epoch.
        batches: their batch size, crops and flip count, not the recipe's.
        loss: scalar of a batch; runs under `autocast`. State that outlives a batch is in `ctx` (`state`, `stream`);
            `ctx.generator` raises inside of it.
        recipe: optimizer, learning rate, schedule, epochs, gradient clipping.
        ctx: provides phases, progress and randomness.
        phase: name under which the time of training is recorded; `after_epoch` is outside it.
        parameter_groups: for the optimizer, each with an optional `lr_scale`; all parameters alike if None.
        after_epoch: called with the epoch (from 0) and its mean loss.

    Returns:
        The mean loss of every epoch.

    Raises:
        TrainingDivergedError: if an epoch's mean loss is not finite.
    """
    stepper = Stepper(parameter_groups or [{"params": list(model.parameters())}], recipe, len(batches))
    losses: list[float] = []
    with ctx.engine.compiled(model), seeded(ctx.generator("train-noise"), ctx.device):
        with ctx.meter.warm():
            rehearse(model, batches, loss, recipe, ctx)
        for epoch in range(recipe.epochs):
            with ctx.phase(phase):
                model.train()
                total = torch.zeros((), device=ctx.device)
                for batch in batches:
                    with autocast(ctx.device), ctx.training_step():
                        value = loss(batch)
                    stepper.step(value)
                    total += value.detach().float()
                losses.append(float(total) / len(batches))
            if not math.isfinite(losses[-1]):
                raise TrainingDivergedError(
                    f"loss became {losses[-1]} in epoch {epoch + 1} of {recipe.epochs} (lr {recipe.lr:g}); lower lr"
                )
            if after_epoch is not None:
                with ctx.engine.paused():
                    after_epoch(epoch, losses[-1])
            ctx.progress(epoch + 1, recipe.epochs, f"{phase}, loss {losses[-1]:.3f}")
    return losses


def rehearse(model: nn.Module, batches: Batches, loss: Loss, recipe: Recipe, ctx: Context) -> None:
    """Forward and backward on random images with random labels, for a batch of every size; leaves no trace.

    The optimizer's step is rehearsed on a weight of its own. The network and all that its modules hold, torch's
    generators and `ctx` are as before, without gradients: what a loss keeps of a rehearsal, which is not charged, is of
    no use to the training.
    """
    with restored(model), ctx.rehearsal(), seeded(ctx.generator("rehearsal"), ctx.device):
        model.train()
        for batch in batches.noise(ctx.generator("rehearsal-images")):
            with autocast(ctx.device), ctx.training_step():
                value = loss(batch)
            value.backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    weight = nn.Parameter(torch.ones(1, device=ctx.device))
    Stepper([{"params": [weight]}], recipe, 1).step(weight.sum())
