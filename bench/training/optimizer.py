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
    """

    def __init__(self, groups: Iterable[dict[str, Any]], recipe: Recipe, steps_per_epoch: int) -> None:
        self._optimizer = make_optimizer(groups, recipe)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: lr_factor(recipe, step, steps_per_epoch)
        )
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._clip_grad_norm = recipe.clip_grad_norm

    def step(self, loss: Tensor) -> None:
        """Backpropagates a scalar and moves the parameters."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_grad_norm)
        self._optimizer.step()
        self._scheduler.step()


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
