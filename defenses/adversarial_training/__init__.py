"""Adversarial training: the victim learns from the worst images near the ones it was given.

`at` takes several steps (Madry et al., ICLR 2018, arXiv:1706.06083), as the papers on unlearnable examples run it.
`at-fast` takes one from a random start (Wong et al., ICLR 2020, arXiv:2001.03994) and watches for its known failure.
Both train on adversarial images alone, found after crop and flip with the network in eval mode; the loss is in train
mode. Both leave the training set as it is and give the victim's recipe their own number of epochs.

Deviations:
- `at` with norm=l2 starts uniformly in the ball. The Gaussian start that published codes keep there is many times
  longer than the radius.
- The published single-step code attacks in train mode, and ends its training when it finds the failure. Here the attack
  runs in eval mode like every other, and the failure is recorded: when to stop is the reader's decision.
- That code's learning rate goes up and down in a triangle with its peak at 0.2. Here it is the one-cycle schedule
  with the victim's own peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api import GRADIENT_PASSES, STEP_PASSES, Budget, Context, LossDefense, Recipe
from bench.registry import defenses
from bench.training.pgd import pgd, random_start, step_across
from defenses.adversarial_training.overfitting import Watch, accuracies

_CHECK_STEPS = 5  # and steps of eps / 4: the short attack with which the single-step paper checks


@defenses.register("at", source="arXiv:1706.06083")
@dataclass(frozen=True)
class AdversarialTraining(LossDefense):
    """Train on the worst images within a small ball, found by several gradient steps (PGD).

    Costs one forward and backward pass per step: with 10 steps an epoch takes 7 to 8 times as long, and the papers
    train 100 epochs instead of 60. Clean accuracy falls even without a poison. A poison that moves single pixels
    further than the ball reaches (OPS) survives. An epoch of `at-fast` costs a quarter.

    Attributes:
        eps: radius of the ball on the [0, 1] scale; 0 is plain training. The papers use 8/255 and 4/255.
        norm: `linf`, or `l2` (then give eps too, for example 0.75).
        steps: gradient steps.
        step_size: of one step; None is travel * eps / steps, at most eps: eps / 4 for the papers' ten steps (2/255
            and 1/255 there).
        travel: how far all steps go together, in radii, where step_size is None.
        epochs: of the victim's training; None keeps the victim's number.
        schedule: `multistep` divides the learning rate by ten after 75 % and 90 % of the epochs; `victim` keeps the
            victim's schedule.
    """

    eps: float = 8 / 255
    norm: Literal["linf", "l2"] = "linf"
    steps: int = 10
    step_size: float | None = None
    travel: float = 2.5
    epochs: int | None = 100
    schedule: Literal["multistep", "victim"] = "multistep"

    replayable = True

    def __post_init__(self) -> None:
        _check_radius("at", self.eps, self.norm)
        _check_numbers("at", steps=self.steps, step_size=self.step_size, travel=self.travel, epochs=self.epochs)
        if self.schedule not in ("multistep", "victim"):
            raise ValueError(f"at: schedule must be multistep or victim, got {self.schedule!r}")

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this defense's epochs and schedule."""
        epochs = recipe.epochs if self.epochs is None else self.epochs
        if self.schedule == "victim":
            return replace(recipe, epochs=epochs, warmup_epochs=min(recipe.warmup_epochs, 0.2 * epochs))
        milestones = (round(0.75 * epochs), round(0.9 * epochs))
        return replace(recipe, epochs=epochs, schedule="multistep", milestones=milestones, warmup_epochs=0.0)

    @property
    def step_passes(self) -> float:
        """A gradient per step, and the victim's own."""
        return STEP_PASSES + (self.steps * GRADIENT_PASSES if self.eps else 0)

    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The adversarial images alone."""
        return self.attack(model, images_01, labels, ctx.stream("attack-start"))

    def attack(self, model: nn.Module, images_01: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images in [0, 1], at most eps from the given ones, on which the model's loss is large.

        An L-inf attack starts at the images plus Gaussian noise of one step's size, and takes its first gradient there
        even where that is outside of the ball or of [0, 1], as in the D-VAE authors' code.

        Args:
            model: in any mode; in eval mode and frozen meanwhile.
            images_01: float (B, C, H, W) in [0, 1].
            labels: int64 (B,).
            generator: of the start, on the device.
        """
        if self.eps == 0:
            return images_01
        budget = Budget(self.norm, self.eps)
        step_size = self.step_size or step_across(self.eps, self.steps, self.travel)
        if self.norm == "linf":
            start = step_size * torch.randn(images_01.shape, generator=generator, device=generator.device)
        else:
            start = random_start(images_01, budget, generator)
        return _hostile(model, images_01, labels, budget, step_size, self.steps, start)


@defenses.register("at-fast", source="arXiv:2001.03994")
@dataclass(frozen=True)
class FastAdversarialTraining(LossDefense):
    """Adversarial training with one gradient step from a random start (FGSM): 1.7 to 2 times a plain epoch.

    It can fail all at once (catastrophic overfitting): the network learns to hide from the single step, and from then
    on any longer attack succeeds. Every `check_every` batches one batch is attacked with five steps too; that changes
    nothing in the training. Logs `catastrophic_overfitting`, true if at some check the accuracy under five steps was
    less than half of that under one step and 20 points lower, and `not checked` if the training was shorter than
    `check_every`; `catastrophic_overfitting_batches`, where; and both
    accuracies at every check (`checked_batches`, `single_step_accuracy`, `several_step_accuracy`).

    Attributes:
        eps: L-inf radius on the [0, 1] scale; 0 is plain training.
        step_size: of the one step; None is 1.25 * eps, as in the paper.
        epochs: of the victim's training, with a one-cycle learning rate; None keeps the victim's number and schedule.
        check_every: batches between checks, each of which costs about three batches.
    """

    eps: float = 8 / 255
    step_size: float | None = None
    epochs: int | None = 15
    check_every: int = 100

    def __post_init__(self) -> None:
        _check_radius("at-fast", self.eps, "linf")
        _check_numbers("at-fast", step_size=self.step_size, epochs=self.epochs, check_every=self.check_every)

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this defense's epochs and schedule."""
        if self.epochs is None:
            return recipe
        return replace(recipe, epochs=self.epochs, schedule="one-cycle", milestones=(), warmup_epochs=0.0)

    @property
    def step_passes(self) -> float:
        """One gradient, the victim's own, and a check of about three batches now and then."""
        return STEP_PASSES + (GRADIENT_PASSES if self.eps else 0) + 3 * STEP_PASSES / self.check_every

    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The adversarial images alone."""
        hostile = self.attack(model, images_01, labels, ctx.stream("attack-start"))
        if self.eps > 0:
            watch = ctx.state("overfitting", lambda: Watch.begin(ctx))
            watch.batches += 1
            if watch.batches % self.check_every == 0:
                stronger = self._stronger(model, images_01, labels, ctx.stream("check-start"))
                watch.add(accuracies(model, (hostile, stronger), labels))
        return hostile

    def attack(self, model: nn.Module, images_01: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images in [0, 1], at most eps from the given ones, after one step from a uniform start inside of [0, 1].

        Args:
            model: in any mode; in eval mode and frozen meanwhile.
            images_01: float (B, C, H, W) in [0, 1].
            labels: int64 (B,).
            generator: of the start, on the device.
        """
        if self.eps == 0:
            return images_01
        budget = Budget("linf", self.eps)
        start = random_start(images_01, budget, generator).clamp(-images_01, 1 - images_01)
        step_size = 1.25 * self.eps if self.step_size is None else self.step_size
        return _hostile(model, images_01, labels, budget, step_size, 1, start)

    def _stronger(self, model: nn.Module, images_01: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        budget = Budget("linf", self.eps)
        start = random_start(images_01, budget, generator)
        return _hostile(model, images_01, labels, budget, self.eps / 4, _CHECK_STEPS, start)


def _hostile(
    model: nn.Module, images_01: Tensor, labels: Tensor, budget: Budget, step_size: float, steps: int, start: Tensor
) -> Tensor:
    """Images in the ball around the given ones, on which the model's loss is large."""
    return images_01 + pgd(
        model,
        images_01,
        labels,
        direction="maximize",
        budget=budget,
        step_size=step_size,
        steps=steps,
        start=start,
    )


def _check_radius(name: str, eps: float, norm: str) -> None:
    if norm not in ("linf", "l2"):
        raise ValueError(f"{name}: norm must be linf or l2, got {norm!r}")
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"{name}: eps must be a finite number >= 0, got {eps}")
    if norm == "linf" and eps >= 1:
        raise ValueError(f"{name}: eps is on the [0, 1] scale and below 1, got {eps:g}; write eps=8/255")
    if norm == "l2" and 0 < eps < 0.1:
        # Most likely the L-inf default: over a whole image it would be next to no attack, under this name.
        raise ValueError(f"{name}: an L2 radius of {eps:g} is next to nothing; with norm=l2 write eps=0.75")


def _check_numbers(name: str, **values: float | None) -> None:
    for parameter, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: {parameter} must be a finite number > 0, got {value}")
