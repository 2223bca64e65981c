"""Recipe: how a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """Settings of a network's training. Plain data, stored with every result.

    Attributes:
        epochs: passes over the training set.
        batch_size: images per step.
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
        clean_images: clean images that a victim trains on besides the given ones. The data set keeps them from attacks
            (`cifar10:clean=4000`); only a defense that declares `clean-data` may ask for them.
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
    clean_images: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a finite number > 0, got {self.lr}")
        if self.weight_decay < 0 or self.crop_padding < 0:
            raise ValueError(
                f"weight_decay and crop_padding must be >= 0, got {self.weight_decay} and {self.crop_padding}"
            )
        if self.clean_images < 0:
            raise ValueError(f"clean_images must be >= 0, got {self.clean_images}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must be >= 0 and less than epochs, got {self.warmup_epochs:g} of {self.epochs}; "
                "whoever shortens the training sets both"
            )
        check_crops(self.crop_padding, self.random_resized_crop)

    def lasting(self, epochs: int) -> Recipe:
        """This recipe with another number of epochs; its milestones and its warm-up keep their share of them."""
        share = epochs / self.epochs
        milestones = tuple(round(share * milestone) for milestone in self.milestones)
        return replace(self, epochs=epochs, milestones=milestones, warmup_epochs=share * self.warmup_epochs)


def check_crops(crop_padding: int, random_resized_crop: bool) -> None:
    """Raises ValueError if two kinds of random crops are asked for."""
    if crop_padding and random_resized_crop:
        raise ValueError(
            f"random_resized_crop and crop_padding={crop_padding} are two kinds of random crops; "
            "choose one: crop_padding=0, or random_resized_crop=false"
        )
