"""Optimizer steps by a recipe: parameter groups, learning-rate schedule, gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Recipe


class Stepper:
    """Optimizer, schedule and gradient clipping, one step at a time: `fit`, and loops that are not made of epochs.

    Args:
        groups: parameter groups, each with an optional `lr_scale`.
        recipe: optimizer, learning rate, schedule, gradient clipping.
        steps_per_epoch: optimizer steps that count as one epoch of the recipe; 1 if its epochs are steps.
        capturable: a CUDA graph may capture `update`: learning rates are float32 scalars on the device.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], recipe: Recipe, steps_per_epoch: int, capturable: bool = False
    ) -> None:
        self._optimizer = make_optimizer(groups, recipe)
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._recipe, self._steps_per_epoch, self._taken = recipe, steps_per_epoch, 0
        self._peaks: list[float] = [group["lr"] for group in self._optimizer.param_groups]
        self._capturable = capturable
        if capturable:
            self._optimizer._warned_capturable_if_run_uncaptured = True  # the first one is
            for group in self._optimizer.param_groups:
                group.update(lr=torch.tensor(group["lr"], device=group["params"][0].device), capturable=True)
        self._schedule()

    def step(self, loss: Tensor) -> None:
        """Backpropagates a scalar, moves the parameters and advances the schedule."""
        self.update(loss)
        self.advance()

    def update(self, loss: Tensor) -> None:
        """Backpropagates a scalar and moves the parameters."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._recipe.clip_grad_norm is not None:
            self._clip(self._recipe.clip_grad_norm)
        self._optimizer.step()

    def advance(self) -> None:
        """Sets the learning rates of the next step."""
        self._taken += 1
        self._schedule()

    def _clip(self, largest: float) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        # Norms one by one in a graph: those of many tensors at once copy a table from the host in every replay.
        norm = nn.utils.get_total_norm(gradients, foreach=False if self._capturable else None)
        nn.utils.clip_grads_with_norm_(self._parameters, largest, norm)

    def _schedule(self) -> None:
        factor = lr_factor(self._recipe, self._taken, self._steps_per_epoch)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(peak * factor)  # in place: a graph reads it there
            else:
                group["lr"] = peak * factor


def make_optimizer(groups: Iterable[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer, fused; a group's `lr_scale` multiplies its learning rate."""
    scaled = [
        {**{k: v for k, v in group.items() if k != "lr_scale"}, "lr": recipe.lr * group.get("lr_scale", 1.0)}
        for group in groups
    ]
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(scaled, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(scaled, **common)
    return torch.optim.AdamW(scaled, **common)


def lr_factor(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate at an optimizer step (from 0) as a multiple of the recipe's peak."""
    total = recipe.epochs * steps_per_epoch
    epoch = step // steps_per_epoch
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "multistep":
        return float(0.1 ** sum(epoch >= milestone for milestone in recipe.milestones))
    if recipe.schedule == "cosine-epoch":
        return 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
    if recipe.schedule == "one-cycle":
        ramp = 0.3 * total
        if step < ramp:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / ramp))
        return 0.5 * (1 + math.cos(math.pi * (step - ramp) / (total - ramp)))
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
