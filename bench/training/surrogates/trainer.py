"""Training steps of a surrogate, between which an attack does something else, or which are attacks themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext

from torch import nn

from bench.api import Context, Recipe
from bench.training.batches import Batches, Drawn
from bench.training.graph import Replayed, own_stream
from bench.training.optimizer import Stepper
from bench.training.rehearsal import replays
from bench.training.step import Loss, Step
from bench.training.surrogates.crafting import Passes
from bench.training.surrogates.networks import labeled_loss


class Trainer:
    """A training without epochs; where `ctx.engine` has graphs, a rehearsal decides whether its steps are replayed.

    A step is captured once and not in every epoch, as in `fit`. So the loss does not ask for `batch.epoch`, and what it
    reads besides the batch stays where it is and is changed in place.

    Args:
        surrogate: on `ctx.device`; in train mode from the first step on.
        batches: come without end, epoch after epoch; a last one of a single image, without batch statistics, is left
            out.
        loss: scalar of a batch, as `fit` has it.
        recipe: its epochs are steps.
        ctx: of the stage.
        passes: counts the images; the rehearsal is no part of its `max_seconds`.
        replayable: as `fit` has it, for all steps.
    """

    def __init__(
        self,
        surrogate: nn.Module,
        batches: Batches,
        loss: Loss,
        recipe: Recipe,
        ctx: Context,
        passes: Passes,
        *,
        replayable: bool,
    ) -> None:
        loss = labeled_loss(surrogate, loss)
        groups = [{"params": list(surrogate.parameters())}]
        started = time.perf_counter()
        with ctx.meter.warm():
            replayed = replays(surrogate, batches, loss, groups, recipe, ctx, "train", replayable)
        passes.left_out += time.perf_counter() - started
        self._surrogate, self._passes, self._device = surrogate, passes, ctx.device
        self._batches = endless(batches)
        self._step = Step.new(batches, loss, Stepper(groups, recipe, 1, capturable=replayed), ctx)
        self._replay = Replayed(self._step) if replayed else None
        self._unread = 0

    def step(self) -> int:
        """One step on the next batch; its number of images."""
        with nullcontext() if self._replay is None else own_stream(self._device):
            drawn = next(self._batches)
            self._surrogate.train()
            (self._replay or self._step)(drawn)
            self._step.stepper.advance()
        self._passes.training += len(drawn.rows)
        self._unread += 1
        return len(drawn.rows)

    def loss(self) -> float:
        """The mean of the steps since the last call; waits for the device."""
        mean = float(self._step.total) / self._unread
        self._step.total.zero_()
        self._unread = 0
        return mean


def endless(batches: Batches) -> Iterator[Drawn]:
    """Batches without end, epoch after epoch, but for those of a single image."""
    while True:
        for drawn in batches.drawn():
            if len(drawn.rows) > 1:
                yield drawn
