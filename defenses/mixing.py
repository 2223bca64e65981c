"""Cutout, Mixup and CutMix while the victim trains: the companions that papers on unlearnable examples compare with.

They act on batches that are already cropped and flipped, and cost next to nothing. Nearly useless against perturbations
of the whole image, and of some use against single pixels (OPS).

Mixup and CutMix come in the per-sample form of the ISS, D-VAE and AVATAR codes: twice in sequence, each time with
probability 0.5, every image with its own partner and its own share. `rounds=1:probability=1` mixes every image once.

Deviations:
- A partner is drawn from the same batch (possibly the image itself), not from the whole set: a loss sees no more. It is
  the image as it was before any mixing, augmented in its own way.
- Shares are uniform, which is the Beta(1, 1) of all those codes.

Written here, and not taken from an augmentation library: those draw from the process's global generator and place their
boxes image by image on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import STEP_PASSES, Context, LossDefense
from bench.registry import defenses

# Gets the batch's shape and a generator on the device; returns how much of its partner each pixel takes, float in
# [0, 1], (B, 1, 1, 1) or (B, 1, H, W).
DrawShare = Callable[[torch.Size, torch.Generator], Tensor]


@defenses.register("cutout", source="arXiv:1708.04552", family="mixing")
@dataclass(frozen=True)
class Cutout(LossDefense):
    """Blacken a square at a random place of every training image; the loss is the plain one.

    Attributes:
        size: side of the square in pixels; its center is anywhere in the image, and what lies outside is cut off.
    """

    size: int = 16

    replayable = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"cutout: size must be at least 1 pixel, got {self.size}")

    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The images with their squares."""
        return cut_out(images_01, self.size, ctx.stream("cutout"))


@defenses.register("mixup", source="arXiv:1710.09412", family="mixing")
@dataclass(frozen=True)
class Mixup:
    """Blend training images and their labels in pairs; soft cross-entropy.

    Attributes:
        rounds: times an image may be blended.
        probability: of blending an image in a round.
    """

    rounds: int = 2
    probability: float = 0.5

    replayable = True

    def __post_init__(self) -> None:
        _check("mixup", self.rounds, self.probability)

    step_passes = STEP_PASSES

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """Soft cross-entropy on the blended images."""
        mixed = mix(images_01, draw_blend, self.rounds, self.probability, ctx.stream("mixup"))
        return mixed.loss(model, labels)


@defenses.register("cutmix", source="arXiv:1905.04899", family="mixing")
@dataclass(frozen=True)
class CutMix:
    """Paste a box of another training image, and mix the labels by its area; soft cross-entropy.

    Attributes:
        rounds: times a box may be pasted into an image.
        probability: of pasting one in a round.
    """

    rounds: int = 2
    probability: float = 0.5

    replayable = True

    def __post_init__(self) -> None:
        _check("cutmix", self.rounds, self.probability)

    step_passes = STEP_PASSES

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """Soft cross-entropy on the images with their boxes."""
        mixed = mix(images_01, draw_boxes, self.rounds, self.probability, ctx.stream("cutmix"))
        return mixed.loss(model, labels)


@dataclass(frozen=True)
class Mixed:
    """A mixed batch.

    Attributes:
        images: float (B, C, H, W) in [0, 1].
        origins: float (B, B); row i says how much of each image of the batch is in image i, and sums to 1.
    """

    images: Tensor
    origins: Tensor

    def soft_labels(self, labels: Tensor, classes: int) -> Tensor:
        """Float (B, classes), rows sum to 1; labels are int64 (B,)."""
        hard = (labels[:, None] == torch.arange(classes, device=labels.device)).float()
        with torch.autocast(labels.device.type, enabled=False):  # a bfloat16 product would round the shares
            return self.origins @ hard

    def loss(self, model: nn.Module, labels: Tensor) -> Tensor:
        """Cross-entropy between the model's logits and the soft labels."""
        logits = model(self.images).float()
        return functional.cross_entropy(logits, self.soft_labels(labels, logits.shape[1]))


def mix(images_01: Tensor, draw: DrawShare, rounds: int, probability: float, generator: torch.Generator) -> Mixed:
    """Each image takes a share of a random image of the batch, `rounds` times with this probability.

    Args:
        images_01: float (B, C, H, W) in [0, 1]; not modified.
        draw: says which share.
        rounds: in sequence.
        probability: of taking part, drawn for every image and round.
        generator: on the device.
    """
    count, device = len(images_01), images_01.device
    images, origins = images_01, torch.eye(count, device=device)
    for _ in range(rounds):
        partner = torch.randint(count, (count,), generator=generator, device=device)
        takes_part = torch.rand(count, generator=generator, device=device) < probability
        share = draw(images_01.shape, generator) * takes_part.view(-1, 1, 1, 1)
        # lerp is exact at both ends: pixels outside of a box stay, pixels inside are the partner's.
        images = torch.lerp(images, images_01[partner], share.expand_as(images))
        of_partner = (partner[:, None] == torch.arange(count, device=device)).float()
        origins = torch.lerp(origins, of_partner, share.mean(dim=(1, 2, 3))[:, None].expand_as(origins))
    return Mixed(images, origins)


def draw_blend(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Mixup: the same share, uniform in [0, 1), for all pixels of an image."""
    return torch.rand(shape[0], 1, 1, 1, generator=generator, device=generator.device)


def draw_boxes(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """CutMix: 1 inside a box whose area is a uniform share of the image and whose center is anywhere in it, else 0.

    What lies outside of the image is cut off, and sides are rounded to even numbers of pixels as in the authors' code,
    so the area that is really pasted has to be counted.
    """
    count, _, height, width = shape
    side = torch.rand(count, generator=generator, device=generator.device).sqrt()
    rows = _interval(height, (side * height).long() // 2 * 2, generator)
    columns = _interval(width, (side * width).long() // 2 * 2, generator)
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()


def cut_out(images_01: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The images with a black square each, at most `size` x `size`; float (B, C, H, W), the input is not modified."""
    count, _, height, width = images_01.shape
    side = torch.full((count,), size, device=images_01.device)
    rows = _interval(height, side, generator)
    columns = _interval(width, side, generator)
    return images_01.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


def _interval(length: int, size: Tensor, generator: torch.Generator) -> Tensor:
    """Bool (B, length): `size` positions (int64 (B,)) around a center drawn anywhere, as far as they are inside."""
    device = generator.device
    first = torch.randint(length, (len(size), 1), generator=generator, device=device) - size[:, None] // 2
    position = torch.arange(length, device=device)
    return (position >= first) & (position < first + size[:, None])


def _check(name: str, rounds: int, probability: float) -> None:
    if rounds < 1:
        raise ValueError(f"{name}: rounds must be at least 1, got {rounds}")
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: probability must be in 0..1, got {probability}")
