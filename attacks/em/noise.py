"""The two forms of EM's noise (arXiv:2101.04898): how it is looked up, improved and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Budget, Context, ImageSet, draw_per_class
from bench.training import Batches
from bench.training.pgd import pgd
from bench.training.surrogates import Passes, chunks, empty_noise, judge, labeled, load


@dataclass(frozen=True)
class Descent:
    """Gradient steps on noise that make the loss small.

    Attributes:
        budget: of the noise, L-inf.
        steps: an update.
        step_size: of one step.
        passes: are counted here.
    """

    budget: Budget
    steps: int
    step_size: float
    passes: Passes

    def __call__(self, model: nn.Module, images_01: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        self.passes.gradient += self.steps * len(images_01)
        with labeled(model, labels):
            return pgd(
                model,
                images_01,
                labels,
                direction="minimize",
                budget=self.budget,
                step_size=self.step_size,
                steps=self.steps,
                start=start,
            )


class SampleNoise:
    """One noise per image.

    Args:
        train: on the device if it fits there.
        ctx: gives the device.
        descent: improves it.

    Attributes:
        delta: float32 (N, C, H, W).
        near: it is on the device, so a training step that looks it up may be replayed.
    """

    def __init__(self, train: ImageSet, ctx: Context, descent: Descent) -> None:
        self._train, self._device, self._descent, self._ctx = train, ctx.device, descent, ctx
        self.delta = empty_noise(train, ctx.device)
        self.near = self.delta.device.type == ctx.device.type

    def of(self, rows: Tensor, labels: Tensor) -> Tensor:
        """The noise of these images, on the device."""
        if self.near:
            return self.delta[rows]
        with self._ctx.training_step(False):  # it waits for the device, which no step does
            return self.delta[rows.cpu()].to(self._device)

    def update(self, model: nn.Module) -> None:
        """Gradient steps for all images, from where their noise is; stops early at a limit."""
        for rows in chunks(len(self._train), self._train.info.shape, self._device):
            images, labels = load(self._train, rows, self._device)
            found = self._descent(model, images, labels, self.delta[rows].to(self._device))
            self.delta[rows] = found.to(self.delta.device)
            if self._descent.passes.spent():
                return

    def judge(self, model: nn.Module) -> tuple[float, float]:
        """Share of noisy images classified wrongly, and their mean cross-entropy."""
        return _judge(
            model, self._train, lambda rows, labels: self.delta[rows].to(self._device), self._descent, self._device
        )


class ClassNoise:
    """One noise per class, found on a part of every class.

    Args:
        train: on the device if it fits there.
        ctx: gives the device, the part (`noise-set`) and its order (`noise-order`).
        descent: improves it.
        batch_size: of an update; a last, smaller batch is left out.
        fraction: of every class, at least one image.

    Attributes:
        delta: float32 (K, C, H, W).
        near: True; as for `SampleNoise`.
    """

    near = True

    def __init__(self, train: ImageSet, ctx: Context, descent: Descent, batch_size: int, fraction: float) -> None:
        self._device, self._descent = ctx.device, descent
        rows = _stratified(train.labels.cpu(), fraction, ctx.generator("noise-set"))
        self._part = train.take(rows.to(train.images.device))
        self._batches = Batches(
            self._part, ctx.device, batch_size, ctx.generator("noise-order"), shuffle=True, drop_last=True
        )
        self.delta = torch.zeros(train.info.num_classes, *train.info.shape, device=ctx.device)

    def of(self, rows: Tensor, labels: Tensor) -> Tensor:
        """The noise of these images, on the device."""
        return self.delta[labels]

    def update(self, model: nn.Module) -> None:
        """Batch after batch, a class's noise becomes the mean of what its images in the batch make of it."""
        for batch in self._batches:
            found = self._descent(model, batch.images_01, batch.labels, self.delta[batch.labels])
            classes = torch.arange(len(self.delta), device=self._device)
            member = (batch.labels[:, None] == classes).to(found.dtype)  # one_hot would wait for the device
            count = member.sum(0).view(-1, 1, 1, 1)
            mean = torch.einsum("bk,bchw->kchw", member, found) / count.clamp(min=1)
            radius = self._descent.budget.radius
            # In place: a replayed training step of the surrogate reads it where it is.
            self.delta.copy_(torch.where(count > 0, mean.clamp(-radius, radius), self.delta))
            if self._descent.passes.spent():
                return

    def judge(self, model: nn.Module) -> tuple[float, float]:
        """Share of the part's noisy images classified wrongly, and their mean cross-entropy."""
        return _judge(model, self._part, lambda rows, labels: self.delta[labels], self._descent, self._device)


def _judge(
    model: nn.Module,
    train: ImageSet,
    noise: Callable[[slice, Tensor], Tensor],
    descent: Descent,
    device: torch.device,
) -> tuple[float, float]:
    total, right = torch.zeros(2, device=device).unbind()
    for rows in chunks(len(train), train.info.shape, device):
        images, labels = load(train, rows, device)
        with labeled(model, labels):
            loss, hits = judge(model, (images + noise(rows, labels)).clamp(0, 1), labels)
        total, right = total + loss, right + hits
        descent.passes.forward += len(images)
    return (len(train) - int(right)) / len(train), float(total) / len(train)


def _stratified(labels: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Positions of the given share of every class, at least one image each, in ascending order."""
    sizes = labels.unique(return_counts=True)[1].tolist()
    return draw_per_class(labels, [max(1, round(fraction * size)) for size in sizes], generator)
