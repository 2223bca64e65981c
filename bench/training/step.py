"""One step of a training, as a function of a batch alone: what runs by itself, or is captured and replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Context
from bench.training.batches import Batch, Batches, Drawn
from bench.training.numbers import autocast
from bench.training.optimizer import Stepper

Loss = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Step:
    """Augmentation, forward, backward, clipping, optimizer; everything but the schedule, which the host sets.

    Attributes:
        batches: give the augmentation.
        loss: scalar of a batch.
        stepper: moves the parameters.
        ctx: gives the device; told that a step is under way.
        total: float32 scalar on the device, to which the loss is added.
    """

    batches: Batches
    loss: Loss
    stepper: Stepper
    ctx: Context
    total: Tensor

    @classmethod
    def new(cls, batches: Batches, loss: Loss, stepper: Stepper, ctx: Context) -> Step:
        """A step with a total of zero."""
        return cls(batches, loss, stepper, ctx, torch.zeros((), device=ctx.device))

    def __call__(self, drawn: Drawn) -> None:
        batch = self.batches.augmented(drawn)
        with autocast(self.ctx.device), self.ctx.training_step():
            value = self.loss(batch)
        self.stepper.update(value)
        self.total.add_(value.detach().float())
