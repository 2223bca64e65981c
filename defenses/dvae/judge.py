"""A small network that judges purified sets: what a victim learns from one half of a set, tried on the other half.

Nothing but the poisoned set and its labels is used. One view of the held-out images has their detail and perhaps a
poison, the other view has neither; a victim for clean test images needs to do well on both (`Judgement.score`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.api import Context, DataInfo, ImageSet, Recipe
from bench.training import Batches, accuracy, build, cross_entropy, fit
from bench.training.blocks import convolution

_WIDTHS = (16, 32, 64, 64)


@dataclass(frozen=True)
class Judgement:
    """Accuracies, in 0..1, of a network that was trained on a purified half, on the held-out half.

    Attributes:
        given: on the images as they were given, perhaps poisoned: low if the purified set is blurred or carries
            patterns of its own.
        plain: on the images as the tightest caps leave them: low if the network has learned a poison, or detail, in
            place of what survives them.
    """

    given: float
    plain: float

    @property
    def score(self) -> float:
        """Their harmonic mean: a high one does not make up for a low one."""
        return 2 * self.given * self.plain / max(self.given + self.plain, 1e-9)


@dataclass(frozen=True)
class Judge:
    """Trains the same network, from the same weights on the same rows in the same order, for every set it judges.

    Args:
        given: the set before any purification.
        plain: the same images as the tightest caps leave them.
        epochs: of a training.
    """

    given: ImageSet
    plain: ImageSet
    epochs: int

    def judge(self, purified: ImageSet, ctx: Context) -> Judgement:
        """Trains on half of the purified images, and tries both views of the others."""
        learned, held_out = _halves(len(purified), ctx)
        recipe = judge_recipe(self.epochs)
        network = build(lambda: small_network(purified.info), ctx, "judge-init")
        batches = Batches.of_recipe(purified.take(learned), recipe, ctx)
        fit(network, batches, cross_entropy(network), recipe, ctx, phase="judge", replayable=True)
        with ctx.phase("judge"):
            given, plain = (accuracy(network, view.take(held_out), ctx.device) for view in (self.given, self.plain))
        return Judgement(given, plain)


def judge_recipe(epochs: int) -> Recipe:
    """AdamW in small batches, without crop and flip, which would hide a poison that hangs on places."""
    return Recipe(
        epochs=epochs,
        batch_size=50,
        optimizer="adamw",
        lr=5e-3,
        schedule="one-cycle",
        crop_padding=0,
        flip=False,
        clip_grad_norm=None,
    )


def small_network(info: DataInfo) -> nn.Sequential:
    """Four 3x3 convolutions to logits (B, K); the first one sees single pixels, as a poison of local patterns needs."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise((info.shape[0], *_WIDTHS))):
        layers += [convolution(before, after, 3, 2 if number else 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTHS[-1], info.num_classes))


def _halves(count: int, ctx: Context) -> tuple[Tensor, Tensor]:
    """Positions that are learned and positions that are held out, the same for every set of so many images."""
    order = torch.randperm(count, generator=ctx.generator("judge-halves"))
    return order[: count // 2], order[count // 2 :]
