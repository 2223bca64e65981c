"""What a plug-in imports: the nouns, the three protocols and their faces.

Conventions, everywhere: images are uint8 (N, C, H, W) at every border between stages and float in [0, 1] inside;
labels are int64 (N,); a perturbation budget of 1.0 is the full pixel range; all randomness comes from `Context`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bench.budget import Budget
from bench.context import Context, child_seed
from bench.crops import check_crops
from bench.partial import PartialPoison
from bench.work import GRADIENT_PASSES, STEP_PASSES, KnowsStep, KnowsWork, Work, no_network

__all__ = [
    "GRADIENT_PASSES",
    "STEP_PASSES",
    "Attack",
    "Budget",
    "ChangesRecipe",
    "ChecksFit",
    "Context",
    "DataInfo",
    "Defense",
    "HoldsPart",
    "ImageSet",
    "KnowsStep",
    "KnowsWork",
    "PartialPoison",
    "Purifies",
    "Recipe",
    "SeesTestImages",
    "StacksOn",
    "TrainsDifferently",
    "Victim",
    "Work",
    "child_seed",
    "map_images",
    "no_network",
]


@dataclass(frozen=True)
class DataInfo:
    """What may be known about a data set without looking at its pixels.

    Attributes:
        name: of the data set, never of the attack.
        num_classes: K; never inferred from labels.
        shape: (C, H, W) of one image.
    """

    name: str
    num_classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels. Immutable by agreement: nobody writes into its tensors.

    Attributes:
        images: uint8 (N, C, H, W) on the CPU; may be a memory-mapped file larger than memory.
        labels: int64 (N,) in 0..K-1.
        info: name, number of classes and image shape.
        aspect_ratios: float32 (N,), width by height of the original images, where whole images were squeezed into this
            shape (random resized crops undo it); None if they have the shape they had. Carried by
            `dataclasses.replace` and `take`.
    """

    images: Tensor
    labels: Tensor
    info: DataInfo
    aspect_ratios: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}; "
                "round to 0..255 and cast to uint8"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if tuple(self.images.shape[1:]) != self.info.shape:
            raise ValueError(f"images are {tuple(self.images.shape[1:])}, but info says {self.info.shape}")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.info.num_classes:
            raise ValueError(
                f"labels must lie in 0..{self.info.num_classes - 1}, "
                f"found {int(self.labels.min())}..{int(self.labels.max())}"
            )
        ratios = self.aspect_ratios
        if ratios is not None and (ratios.dtype != torch.float32 or ratios.shape != self.labels.shape):
            raise ValueError(
                f"aspect_ratios must be float32 ({len(self.images)},), got {ratios.dtype} {tuple(ratios.shape)}"
            )
        if ratios is not None and not bool((ratios.isfinite() & (ratios > 0)).all()):
            raise ValueError("aspect_ratios must be finite numbers > 0")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> ImageSet:
        """The images at these positions, in this order (a copy)."""
        ratios = None if self.aspect_ratios is None else self.aspect_ratios[rows.to(self.aspect_ratios.device)]
        return replace(self, images=self.images[rows], labels=self.labels[rows], aspect_ratios=ratios)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Plain data, stored with every result.

    Attributes:
        epochs: passes over the training set.
        batch_size: images a step.
        optimizer: `sgd` (momentum 0.9 unless changed), `adam` or `adamw`.
        lr: peak learning rate.
        momentum: of SGD.
        nesterov: for SGD.
        weight_decay: on every parameter.
        schedule: `cosine-epoch` (to 0, stepped once an epoch), `cosine` (stepped each batch), `one-cycle`,
            `multistep` (times 0.1 at the milestones) or `constant`.
        milestones: epochs at which `multistep` decays.
        warmup_epochs: linear ramp at the start of `cosine`.
        crop_padding: zero padding for a random crop of the original size, in pixels; 0 switches it off.
        random_resized_crop: a random box of 8 to 100 % of the image, of ratio 3/4 to 4/3, resized to the image's size,
            as torchvision's RandomResizedCrop; excludes crop_padding.
        flip: horizontal flip with probability 0.5.
        clip_grad_norm: global gradient-norm limit, or None.
        drop_last: leave out the incomplete last batch of an epoch.
    """

    epochs: int = 60
    batch_size: int = 128
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["cosine-epoch", "cosine", "one-cycle", "multistep", "constant"] = "cosine-epoch"
    milestones: tuple[int, ...] = ()
    warmup_epochs: float = 0.0
    crop_padding: int = 4
    random_resized_crop: bool = False
    flip: bool = True
    clip_grad_norm: float | None = 5.0
    drop_last: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a finite number > 0, got {self.lr}")
        if self.weight_decay < 0 or self.crop_padding < 0:
            raise ValueError(
                f"weight_decay and crop_padding must be >= 0, got {self.weight_decay} and {self.crop_padding}"
            )
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must be >= 0 and less than epochs, got {self.warmup_epochs:g} of {self.epochs}; "
                "whoever shortens the training sets both"
            )
        check_crops(self.crop_padding, self.random_resized_crop)


def map_images(
    train: ImageSet, transform: Callable[[Tensor, slice], Tensor], ctx: Context, chunk: int = 1024
) -> ImageSet:
    """Applies `transform(images_u8, rows) -> images_u8` chunk by chunk, so that sets larger than memory work.

    Args:
        train: not modified.
        transform: gets uint8 (n, C, H, W) and the positions as a slice; returns uint8 of the same shape.
        ctx: reports progress and provides the output.
        chunk: images at a time.
    """
    images = ctx.empty_images(tuple(train.images.shape))
    for start in range(0, len(train), chunk):
        rows = slice(start, min(start + chunk, len(train)))
        images[rows] = transform(train.images[rows], rows)
        ctx.progress(rows.stop, len(train))
    return replace(train, images=images)


class Attack(Protocol):
    """Crafts a poison from a clean training set. A frozen dataclass: its fields are its parameters."""

    @property
    def budget(self) -> Budget:
        """What the poison promises to respect; the harness measures it on the uint8 result."""
        ...

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The poisoned set: same labels, count, order and shape; `train` is not modified."""
        ...


@runtime_checkable
class StacksOn(Protocol):
    """Optional face of an attack: how it goes onto images that another attack poisoned (`em+ops`).

    Without it, what the attack adds to the clean images is added to the poisoned ones, and clipped.
    """

    def poison_onto(self, clean: ImageSet, poisoned: ImageSet, ctx: Context) -> ImageSet:
        """`poisoned`, changed by at most the budget; what is written is found on `clean`. Neither is modified."""
        ...


@runtime_checkable
class ChecksFit(Protocol):
    """Optional face of attacks and defenses: whether they can work on a training set is checked before any work."""

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError or ValueError, saying what to do, if `poison` or `purify` could not work on these images.

        An attack sees its own clean images, a defense images of the same number, size and labels.
        """
        ...


@runtime_checkable
class HoldsPart(Protocol):
    """Optional face of a `PartialPoison`: it can poison only some images (a file that holds a part of the set)."""

    def held_rows(self, train: ImageSet) -> Tensor | None:
        """Positions of the images it can poison, int64, ascending; None for all of them."""
        ...


@runtime_checkable
class Purifies(Protocol):
    """Face of a defense: maps the (possibly poisoned) training set to the one the victim trains on."""

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The purified set: same labels, count, order and shape; returns `train` itself if it changes nothing."""
        ...


@runtime_checkable
class TrainsDifferently(Protocol):
    """Face of a defense: replaces the loss of a batch (adversarial training, mixing)."""

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """A scalar to minimize; images are float (B, C, H, W), already augmented, on the device.

        It may call the model several times, and must leave train/eval mode and requires_grad as it found them.
        Random numbers come from `ctx.stream(purpose)`: `ctx.generator` starts again at every call, and raises here.
        """
        ...


@runtime_checkable
class ChangesRecipe(Protocol):
    """Face of a defense: the victim is trained longer, shorter or with another schedule than the victim's recipe."""

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe to train with, from the victim's own; the same for every attack and seed."""
        ...


@runtime_checkable
class SeesTestImages(Protocol):
    """Face of a defense: a view of the test images, the same for every image, without labels."""

    def view(self, images_u8: Tensor) -> Tensor:
        """uint8 (N, C, H, W) in, the same out; deterministic and independent of the batch."""
        ...


Defense = Purifies | TrainsDifferently | ChangesRecipe | SeesTestImages
"""A defense has at least one of these faces. It never learns the attack, the clean images or the test labels."""


class Victim(Protocol):
    """A network and the recipe it is trained with."""

    @property
    def recipe(self) -> Recipe: ...

    def build(self, info: DataInfo) -> nn.Module:
        """Float images in [0, 1] in, logits (B, K) out; any normalization happens inside."""
        ...
