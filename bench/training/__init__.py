"""The one training loop: victims, purifiers and surrogates all use it.

The data set lives on the device as uint8; crop and flip are index arithmetic on whole batches, a resized crop is two
small matrix products. Every random number of an epoch is drawn on the CPU at its start and moved once, so all devices
see the same batches and no step waits for the host. A set too large for the device stays where it is (also
memory-mapped) and is fed batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import Context, ImageSet, Recipe, check_crops
from bench.api.engine import applied_precision
from bench.training.crops import crop_and_resize, draw_boxes
from bench.training.feed import feed

M = TypeVar("M", bound=nn.Module)

_RESIDENT_SHARE = 0.5  # of the free device memory; the rest belongs to the network and its activations


class TrainingDivergedError(Exception):
    """The loss became NaN or infinite; the message names the epoch and the learning rate."""


@dataclass(frozen=True)
class Batch:
    """Batch of one step, as a loss sees it.

    Attributes:
        images_01: float32 (B, C, H, W) in [0, 1], augmented, on the device.
        labels: int64 (B,), on the device.
        rows: int64 (B,) positions in the training set, on the device.
        epoch: counted from 0.
    """

    images_01: Tensor
    labels: Tensor
    rows: Tensor
    epoch: int


Loss = Callable[[Batch], Tensor]


def to_float(images_u8: Tensor) -> Tensor:
    """uint8 (N, C, H, W) to float32 in [0, 1], channels-last (a third faster than not, also on a CPU)."""
    return images_u8.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_uint8(images_01: Tensor, rounding: str = "nearest") -> Tensor:
    """Float in any range to uint8: clipped to [0, 1], then rounded (`nearest`) or truncated (`floor`)."""
    levels = images_01.clamp(0, 1).mul(255)
    return (levels.round() if rounding == "nearest" else levels.floor()).to(torch.uint8)


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in the precision of the engine that runs this stage (`--precision`).

    Every forward pass of a network belongs into it, in plug-ins too. What it returns may be bfloat16: take `.float()`
    of it before anything else.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=applied_precision() == "bfloat16")


@contextmanager
def seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators (weight initialisation, dropout) inside the block and restores them after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        yield


def build(make: Callable[[], M], ctx: Context, purpose: str = "model-init") -> M:
    """Builds a network with seeded weights and moves it to the device, channels-last."""
    generator = ctx.generator(purpose)
    with seeded(generator, torch.device("cpu")):
        model = make()
    return model.to(ctx.device).to(memory_format=torch.channels_last)


def shift_and_flip(images: Tensor, dy: Tensor, dx: Tensor, flip: Tensor) -> Tensor:
    """Each image moved by its own whole-pixel offset (zeros come in) and mirrored where `flip` is set.

    Args:
        images: (B, C, H, W), any dtype.
        dy: int64 (B,); output row i is input row i + dy. A random crop after zero padding p is dy in -p..p.
        dx: the same for columns, before mirroring.
        flip: bool (B,).
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) + dy[:, None]
    columns = torch.arange(width, device=images.device).expand(len(images), width)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + dx[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    flat = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    index = flat.flatten(1)[:, None, :].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images) * inside[:, None].to(images.dtype)


class Batches:
    """A training set that yields augmented batches; one pass over it is one epoch.

    Args:
        train: uint8 images with labels.
        device: where the batches are wanted.
        batch_size: images per batch.
        generator: CPU generator of order and augmentation.
        crop_padding: random shifts of up to this many pixels, zero padded; 0 for none.
        random_resized_crop: a box of each image, drawn in its original geometry, resized to the image's size.
        flip: mirror each image with probability 0.5.
        shuffle: a new order every epoch.
        drop_last: leave out an incomplete last batch (kept if it is the only one).

    Raises:
        ValueError: for both kinds of crops at once.
    """

    def __init__(
        self,
        train: ImageSet,
        device: torch.device,
        batch_size: int,
        generator: torch.Generator,
        *,
        crop_padding: int = 0,
        random_resized_crop: bool = False,
        flip: bool = False,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        check_crops(crop_padding, random_resized_crop)
        self._device = device
        self._generator = generator
        self._crop_padding, self._flip, self._shuffle = crop_padding, flip, shuffle
        self._batch_size = min(batch_size, len(train))
        self._used = len(train) - len(train) % self._batch_size if drop_last else len(train)
        self._size, self._num_classes = len(train), train.info.num_classes
        self._resident = _fits(train.images, device)
        self._images = train.images.to(device) if self._resident else train.images
        self._labels = train.labels.to(device)
        self._aspect_ratios: Tensor | None = None  # of images to be cropped
        if random_resized_crop:
            ratios = torch.ones(len(train)) if train.aspect_ratios is None else train.aspect_ratios
            self._aspect_ratios = ratios.cpu()
        self._epoch = 0

    def __len__(self) -> int:
        return math.ceil(self._used / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        where, *draws = self._draw_epoch()
        order, dy, dx, flip, boxes = (draw.to(self._device) for draw in (where, *draws))
        epoch, self._epoch = self._epoch, self._epoch + 1
        starts = range(0, self._used, self._batch_size)
        parts = [slice(start, min(start + self._batch_size, self._used)) for start in starts]
        fed = None if self._resident else feed(self._images, [where[here] for here in parts], self._device)
        for here in parts:
            rows = order[here]
            images = self._images[rows] if fed is None else next(fed)
            if self._aspect_ratios is not None:
                images_01 = crop_and_resize(to_float(images), boxes[here], flip[here])
                yield Batch(images_01, self._labels[rows], rows, epoch)
                continue
            if self._crop_padding:
                images = shift_and_flip(images, dy[here], dx[here], flip[here])
            elif self._flip:
                images = torch.where(flip[here, None, None, None], images.flip(-1), images)
            yield Batch(to_float(images), self._labels[rows], rows, epoch)

    def noise(self, generator: torch.Generator) -> list[Batch]:
        """Random images with random labels, one batch of every size that an epoch has; moves no random stream."""
        sizes = {self._batch_size, self._used % self._batch_size or self._batch_size}
        shape, classes = self._images.shape[1:], self._num_classes
        return [
            Batch(
                to_float(torch.randint(256, (size, *shape), dtype=torch.uint8, generator=generator).to(self._device)),
                torch.randint(classes, (size,), generator=generator).to(self._device),
                torch.arange(size, device=self._device),
                epoch=0,
            )
            for size in sorted(sizes)
        ]

    def _draw_epoch(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        size, generator, pad = self._size, self._generator, self._crop_padding
        order = torch.randperm(size, generator=generator) if self._shuffle else torch.arange(size)
        dy = torch.randint(-pad, pad + 1, (size,), generator=generator)
        dx = torch.randint(-pad, pad + 1, (size,), generator=generator)
        flip = torch.rand(size, generator=generator) < (0.5 if self._flip else 0.0)
        ratios = self._aspect_ratios
        boxes = torch.empty(0, 4) if ratios is None else draw_boxes(ratios[order], generator)
        return order, dy, dx, flip, boxes


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda" or images.device.type == "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() <= _RESIDENT_SHARE * free


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

    A rehearsal goes before the first step, so that what is loaded, allocated or compiled at first use is not charged to
    the training that happens to come first: its seconds are the phase `warm`. Where `ctx.engine` compiles, calls of
    `model` are compiled.

    Args:
        model: on `ctx.device`; put into train mode at every epoch.
        batches: their batch size, crops and flip are the ones that count, not the recipe's.
        loss: scalar of a batch; runs under `autocast`. What it keeps beyond a batch is in `ctx` (`state`, `stream`);
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

    The optimizer's step is rehearsed on a weight of its own. Weights, running statistics, gradients, modes, torch's
    generators and what the loss keeps in `ctx` are as before.
    """
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    with ctx.rehearsal(), seeded(ctx.generator("rehearsal"), ctx.device):
        for batch in batches.noise(ctx.generator("rehearsal-images")):
            with autocast(ctx.device), ctx.training_step():
                value = loss(batch)
            value.backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    for module, mode in modes:
        module.training = mode
    with torch.no_grad():
        for buffer, value in kept:
            buffer.copy_(value)
    weight = nn.Parameter(torch.ones(1, device=ctx.device))
    Stepper([{"params": [weight]}], recipe, 1).step(weight.sum())


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


@torch.no_grad()
def predict(model: nn.Module, images_u8: Tensor, device: torch.device, batch_size: int | None = None) -> Tensor:
    """Predicted class of every image, int64 (N,) on the device; the model is in eval mode and left as it was.

    The batch is 1,000 images on a GPU and 100 on a CPU, whose caches hold no more, unless given.
    """
    batch_size = batch_size or (1000 if device.type == "cuda" else 100)
    was_training = model.training
    model.eval()
    outputs = []
    for start in range(0, len(images_u8), batch_size):
        images = to_float(images_u8[start : start + batch_size].to(device, non_blocking=True))
        with autocast(device):
            outputs.append(model(images).argmax(dim=1))
    model.train(was_training)
    return torch.cat(outputs)


def accuracy(model: nn.Module, data: ImageSet, device: torch.device) -> float:
    """Share of images classified as labelled, in [0, 1]."""
    return float((predict(model, data.images, device) == data.labels.to(device)).float().mean())


def cross_entropy(model: nn.Module) -> Loss:
    """The plain loss: mean cross-entropy of the model's logits."""
    return lambda batch: functional.cross_entropy(model(batch.images_01).float(), batch.labels)


def resident(data: ImageSet, device: torch.device) -> ImageSet:
    """The same set with its tensors on the device, images and labels if they fit there; for repeated evaluation."""
    if data.aspect_ratios is not None:
        data = replace(data, aspect_ratios=data.aspect_ratios.to(device))
    if not _fits(data.images, device):
        return data
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))
