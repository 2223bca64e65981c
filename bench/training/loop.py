"""The one training loop: victims, purifiers and surrogates all use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bench.api import Context, Recipe
from bench.training.batches import Batches
from bench.training.evaluate import TrainingDivergedError
from bench.training.graph import Replayed, own_stream
from bench.training.optimizer import Stepper
from bench.training.rehearsal import rehearse, replays
from bench.training.seeding import seeded
from bench.training.step import Loss, Step


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
    replayable: bool = False,
) -> list[float]:
    """Trains `model` by the recipe.

    A rehearsal precedes the first step, so that loading, allocation and compilation at first use are not charged to the
    training that happens to be first: they are the phase `warm`. Where `ctx.engine` compiles, calls of `model` are
    compiled; where it has graphs, the rehearsal decides whether steps are replayed.

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
        replayable: declares that within an epoch the loss does the same operations for all batches of a size: it
            decides nothing by a value or by Python's state, changes tensors that it keeps in place alone, and draws
            from `ctx.stream` or torch's generator of the device. Only then may an engine replay a captured step.

    Returns:
        The mean loss of every epoch.

    Raises:
        TrainingDivergedError: if an epoch's mean loss is not finite, if weights are not finite after the last step, or
            if `after_epoch` raises it; the message names the epoch.
    """
    chosen = parameter_groups or [{"params": model.parameters()}]
    groups = [{**group, "params": list(group["params"])} for group in chosen]
    losses: list[float] = []
    with ctx.engine.compiled(model), seeded(ctx.generator("train-noise"), ctx.device):
        with ctx.meter.warm():
            rehearse(model, batches, loss, recipe, ctx)
            replayed = replays(model, batches, loss, groups, recipe, ctx, phase, replayable)
        step = Step.new(batches, loss, Stepper(groups, recipe, len(batches), capturable=replayed), ctx)
        for epoch in range(recipe.epochs):
            with ctx.phase(phase), own_stream(ctx.device) if replayed else nullcontext():
                model.train()
                step.total.zero_()
                take = Replayed(step) if replayed else step
                for drawn in batches.drawn():
                    take(drawn)
                    step.stepper.advance()
                losses.append(float(step.total) / len(batches))
            if not math.isfinite(losses[-1]):
                raise TrainingDivergedError(
                    f"loss became {losses[-1]} in epoch {epoch + 1} of {recipe.epochs} (lr {recipe.lr:g}); lower lr"
                )
            if epoch + 1 == recipe.epochs:  # the losses of later steps tell of all updates but the last
                _check_weights(groups, recipe)
            if after_epoch is not None:
                with ctx.engine.paused(), _naming_epoch(epoch, recipe):
                    after_epoch(epoch, losses[-1])
            ctx.progress(epoch + 1, recipe.epochs, f"{phase}, loss {losses[-1]:.3f}")
    return losses


def _check_weights(groups: list[dict[str, Any]], recipe: Recipe) -> None:
    weights = [weight for group in groups for weight in group["params"]]
    if broken := int(torch.stack([(~weight.detach().isfinite()).sum() for weight in weights]).sum()):
        raise TrainingDivergedError(
            f"the network diverged: {broken} of {sum(map(torch.numel, weights))} weights are NaN or infinite after "
            f"epoch {recipe.epochs} of {recipe.epochs} (lr {recipe.lr:g}); lower lr"
        )


@contextmanager
def _naming_epoch(epoch: int, recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except TrainingDivergedError as error:
        raise TrainingDivergedError(
            f"after epoch {epoch + 1} of {recipe.epochs} (lr {recipe.lr:g}): {error}"
        ) from error
