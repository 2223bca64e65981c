"""Augmented batches of a training set.

The set lives on the device as uint8; crop and flip are index arithmetic on whole batches, a resized crop is two small
matrix products. Every random number of an epoch is drawn on the CPU at its start and moved once, so all devices see the
same batches and no step waits for the host. A set too large for the device stays in host memory (or in its
memory-mapped file) and is fed batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bench.api import Context, ImageSet, Recipe, check_crops
from bench.training.crops import center_boxes, crop_and_resize, draw_boxes
from bench.training.feed import feed
from bench.training.numbers import to_float

_RESIDENT_SHARE = 0.5  # of the free device memory; the rest belongs to the network and its activations


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


class Drawn(NamedTuple):
    """A batch before its augmentation: images as they are stored, and what was drawn for each; on the device.

    Attributes:
        epoch: counted from 0.
        images: uint8 (B, C, H, W).
        labels: int64 (B,).
        rows: int64 (B,) positions in the training set.
        dy: int64 (B,), as in `shift_and_flip`.
        dx: int64 (B,), likewise.
        flip: bool (B,), likewise.
        boxes: float (B, 4), as in `crop_and_resize`; (0, 4) without resized crops.
    """

    epoch: int
    images: Tensor
    labels: Tensor
    rows: Tensor
    dy: Tensor
    dx: Tensor
    flip: Tensor
    boxes: Tensor


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

    @classmethod
    def of_recipe(cls, train: ImageSet, recipe: Recipe, ctx: Context) -> Batches:
        """Batches with the size, crops, flips and last batch of a recipe, on the device of `ctx`."""
        return cls(
            train,
            ctx.device,
            recipe.batch_size,
            ctx.generator("batch-order"),
            crop_padding=recipe.crop_padding,
            random_resized_crop=recipe.random_resized_crop,
            flip=recipe.flip,
            drop_last=recipe.drop_last,
        )

    def __len__(self) -> int:
        return math.ceil(self._used / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.augmented, self.drawn())

    def drawn(self) -> Iterator[Drawn]:
        """The batches of the next epoch; `augmented` finishes them."""
        where, *draws = self._draw_epoch()
        order, dy, dx, flip, boxes = (draw.to(self._device) for draw in (where, *draws))
        epoch, self._epoch = self._epoch, self._epoch + 1
        starts = range(0, self._used, self._batch_size)
        parts = [slice(start, min(start + self._batch_size, self._used)) for start in starts]
        fed = None if self._resident else feed(self._images, [where[here] for here in parts], self._device)
        for here in parts:
            rows = order[here]
            images = self._images[rows] if fed is None else next(fed)
            yield Drawn(epoch, images, self._labels[rows], rows, dy[here], dx[here], flip[here], boxes[here])

    def augmented(self, drawn: Drawn) -> Batch:
        """The batch with its crops and flips: the same operations for every batch of a size."""
        images = drawn.images
        if self._aspect_ratios is not None:
            return Batch(
                crop_and_resize(to_float(images), drawn.boxes, drawn.flip), drawn.labels, drawn.rows, drawn.epoch
            )
        if self._crop_padding:
            images = shift_and_flip(images, drawn.dy, drawn.dx, drawn.flip)
        elif self._flip:
            images = torch.where(drawn.flip[:, None, None, None], images.flip(-1), images)
        return Batch(to_float(images), drawn.labels, drawn.rows, drawn.epoch)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the batches of an epoch, ascending: the last one may be smaller than the others."""
        return tuple(sorted({self._batch_size, self._used % self._batch_size or self._batch_size}))

    def noise(self, size: int, generator: torch.Generator) -> Drawn:
        """Random images with random labels, not moved; touches no random stream of an epoch."""
        still = torch.zeros(size, dtype=torch.int64)
        parts = (
            torch.randint(256, (size, *self._images.shape[1:]), dtype=torch.uint8, generator=generator),
            torch.randint(self._num_classes, (size,), generator=generator),
            torch.arange(size),
            still,
            still,
            still.bool(),
            torch.empty(0, 4) if self._aspect_ratios is None else center_boxes(torch.ones(size)),
        )
        return Drawn(0, *(part.to(self._device) for part in parts))

    def _draw_epoch(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        size, generator, pad = self._size, self._generator, self._crop_padding
        order = torch.randperm(size, generator=generator) if self._shuffle else torch.arange(size)
        dy = torch.randint(-pad, pad + 1, (size,), generator=generator)
        dx = torch.randint(-pad, pad + 1, (size,), generator=generator)
        flip = torch.rand(size, generator=generator) < (0.5 if self._flip else 0.0)
        ratios = self._aspect_ratios
        boxes = torch.empty(0, 4) if ratios is None else draw_boxes(ratios[order], generator)
        return order, dy, dx, flip, boxes


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


def resident(data: ImageSet, device: torch.device) -> ImageSet:
    """The same set with its tensors on the device, images and labels if they fit there; for repeated evaluation."""
    if data.aspect_ratios is not None:
        data = replace(data, aspect_ratios=data.aspect_ratios.to(device))
    if not _fits(data.images, device):
        return data
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda" or images.device.type == "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() <= _RESIDENT_SHARE * free
