"""UEraser: the victim learns from the worst of several strongly augmented copies (Qin et al., arXiv:2303.15127).

After crop and flip, every copy of a batch goes through plasma brightness, plasma contrast, a shuffle of channels and
one operation of kornia's TrivialAugment. The loss of an image is the largest of its copies' losses.

One recipe for all attacks: a benchmark that chooses the variant with JPEG by the name of the attack reports an oracle.

The plasma is the diamond-square algorithm, written here: kornia's copies its constants to the device at every call,
which waits for it.

Deviations:
- The variant with JPEG codes with kornia's JPEG, on the device, and waits for it at every draw; the paper's code has a
  codec of its own.
- kornia's TrivialAugment draws one operation for a whole batch and a magnitude for each image, and has no operations on
  colors: as in the authors' code, and unlike the paper of that name.
- The learning rate is that of the authors' script for LSP and of the D-VAE authors' configuration (0.01), divided by
  ten at 50 % and 75 % of the epochs as in the script; the README of the code says 0.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import STEP_PASSES, Context, Recipe
from bench.registry import defenses
from bench.training import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

_ROUGHNESS = (0.3, 0.7)
_INTENSITY = (0.5, 1.0)
_SHUFFLE = 0.5  # probability


@defenses.register("ueraser", source="arXiv:2303.15127")
@dataclass(frozen=True)
class UEraser:
    """Train on strong augmentations, and of several draws on the one with the largest loss.

    An epoch with five draws costs five times a plain one, and the papers train 200 epochs instead of 60. Clean accuracy
    falls by a few points.

    Attributes:
        variant: `lite` draws once; `max` draws `draws` times; `standard` does so in the first epochs and then once.
        draws: augmented copies of which the largest loss counts.
        worst_epochs: epochs of `standard` with several draws; the README says 60, the scripts 50.
        plasma: probability of plasma brightness, and of plasma contrast, for each image; 1.0 in other codes.
        jpeg_quality: of a JPEG coding after everything else, 1 to 100; the paper's variant with JPEG has 10. None is no
            JPEG.
        epochs: of the victim's training; None keeps the victim's number and schedule.
        lr: learning rate; None keeps the victim's.
    """

    variant: Literal["lite", "standard", "max"] = "standard"
    draws: int = 5
    worst_epochs: int = 50
    plasma: float = 0.5
    jpeg_quality: int | None = None
    epochs: int | None = 200
    lr: float | None = 0.01

    def __post_init__(self) -> None:
        if self.variant not in ("lite", "standard", "max"):
            raise ValueError(f"ueraser: variant must be lite, standard or max, got {self.variant!r}")
        if self.draws < 1:
            raise ValueError(f"ueraser: draws must be at least 1, got {self.draws}")
        if self.worst_epochs < 0:
            raise ValueError(f"ueraser: worst_epochs must be at least 0, got {self.worst_epochs}")
        if not 0 <= self.plasma <= 1:
            raise ValueError(f"ueraser: plasma is a probability in 0..1, got {self.plasma}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"ueraser: jpeg_quality must be in 1..100 or none, got {self.jpeg_quality}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"ueraser: epochs must be at least 1 or none, got {self.epochs}")
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"ueraser: lr must be a finite number > 0 or none, got {self.lr}")

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with this defense's epochs, steps of the learning rate, and learning rate."""
        recipe = replace(recipe, lr=recipe.lr if self.lr is None else self.lr)
        if self.epochs is None:
            return recipe
        milestones = (round(0.5 * self.epochs), round(0.75 * self.epochs))
        return replace(recipe, epochs=self.epochs, schedule="multistep", milestones=milestones, warmup_epochs=0.0)

    @property
    def step_passes(self) -> float:
        """Those of every draw, on average over the epochs."""
        if self.variant == "lite":
            return float(STEP_PASSES)
        worst = 1.0 if self.variant == "max" or self.epochs is None else min(1.0, self.worst_epochs / self.epochs)
        return STEP_PASSES * (1 + (self.draws - 1) * worst)

    def draws_in(self, epoch: int) -> int:
        """Augmented copies of each image in an epoch, counted from 0."""
        several = self.variant == "max" or (self.variant == "standard" and epoch < self.worst_epochs)
        return self.draws if several else 1

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """Mean over the images of their largest loss."""
        augmenter = ctx.state("ueraser", lambda: Augmenter(self.plasma, self.jpeg_quality, ctx))
        # A loop, and not one large batch: then every copy has an operation of its own, and the network normalizes each
        # copy of the batch by itself.
        losses = [
            functional.cross_entropy(model(augmenter(images_01)).float(), labels, reduction="none")
            for _ in range(self.draws_in(ctx.epoch))
        ]
        return torch.stack(losses).amax(dim=0).mean()


class Augmenter:
    """UEraser's augmentation of a batch; draws anew at every call.

    Args:
        plasma: probability of plasma brightness and of plasma contrast.
        jpeg_quality: of a JPEG coding at the end, or None.
        ctx: gives the random numbers.
    """

    def __init__(self, plasma: float, jpeg_quality: int | None, ctx: Context) -> None:
        from kornia.augmentation.auto import TrivialAugment

        self._plasma, self._jpeg_quality = plasma, jpeg_quality
        self._trivial = TrivialAugment()
        self._on_device = ctx.stream("ueraser")
        # kornia draws from the process's global generator, on the CPU: nothing waits for the device.
        self._global = ctx.generator("trivial-augment")

    @torch.no_grad()
    def __call__(self, images_01: Tensor) -> Tensor:
        """Float32 (B, C, H, W) in [0, 1] in, the same out; the input is not modified."""
        with torch.autocast(images_01.device.type, enabled=False):
            images = images_01.float().contiguous()
            images = self._some(images, self._brightness, self._plasma)
            images = self._some(images, self._contrast, self._plasma)
            images = self._some(images, self._shuffled, _SHUFFLE)
            with seeded(self._global, torch.device("cpu")):
                images = self._trivial(images).clamp(0, 1)
            if self._jpeg_quality is not None:
                from kornia.enhance import jpeg_codec_differentiable

                quality = torch.full((len(images),), float(self._jpeg_quality), device=images.device)
                images = jpeg_codec_differentiable(images, quality).clamp(0, 1)
            return images.contiguous(memory_format=torch.channels_last)

    def _some(self, images: Tensor, change: Callable[[Tensor], Tensor], probability: float) -> Tensor:
        """The images, each changed with this probability."""
        chosen = self._uniform((len(images), 1, 1, 1)) < probability
        return torch.where(chosen, change(images), images)

    def _brightness(self, images: Tensor) -> Tensor:
        low, high = _INTENSITY
        intensity = low + (high - low) * self._uniform((len(images), 1, 1, 1))
        return (images + intensity * (2 * self._field(images) - 1)).clamp(0, 1)

    def _contrast(self, images: Tensor) -> Tensor:
        return ((images - 0.5) * 4 * self._field(images) + 0.5).clamp(0, 1)

    def _shuffled(self, images: Tensor) -> Tensor:
        order = self._uniform(images.shape[:2]).argsort(dim=1)
        return images.gather(1, order[:, :, None, None].expand_as(images))

    def _field(self, images: Tensor) -> Tensor:
        low, high = _ROUGHNESS
        return fractal_field(images.shape, low + (high - low) * self._uniform((len(images), 1, 1, 1)), self._uniform)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._on_device, device=self._on_device.device)


def fractal_field(shape: torch.Size, roughness: Tensor, draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
    """A plasma for every image and channel, by the diamond-square algorithm; float (B, C, H, W) in [0, 1].

    A grid of four corners is refined: each new node is the mean of its neighbors, mixed with a random number.

    Args:
        shape: (B, C, H, W).
        roughness: float (B, 1, 1, 1) in [0, 1]; the share of the random number is its power of the level.
        draw: uniform random numbers in [0, 1) of a shape.
    """
    count, channels, height, width = shape
    grid = draw((count, channels, 2, 2))
    for level in range(max(1, math.ceil(math.log2(max(height, width, 2) - 1)))):
        grid = _refined(grid, roughness**level if level else torch.zeros_like(roughness), draw)
    return grid[:, :, :height, :width]


def _refined(grid: Tensor, share: Tensor, draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
    """A square grid with a node between every two of its nodes; (B, C, n, n) -> (B, C, 2n - 1, 2n - 1)."""
    count, channels, side, _ = grid.shape
    fine = grid.new_empty(count, channels, 2 * side - 1, 2 * side - 1)
    fine[:, :, ::2, ::2] = grid
    rows = grid[:, :, 1:] + grid[:, :, :-1]
    centers = (rows[..., 1:] + rows[..., :-1]) / 4
    centers = torch.lerp(centers, draw(tuple(centers.shape)), share)
    fine[:, :, 1::2, 1::2] = centers
    # Between neighbors in a row lie nodes with a center above and one below, but for the first and the last row.
    for into, nodes, middles in (
        (fine[:, :, ::2, 1::2], grid, centers),
        (fine[:, :, 1::2, ::2].mT, grid.mT, centers.mT),
    ):
        total = nodes[..., 1:] + nodes[..., :-1]
        total += functional.pad(middles, (0, 0, 0, 1)) + functional.pad(middles, (0, 0, 1, 0))
        neighbors = torch.full((side, 1), 4.0, device=grid.device)
        neighbors[0] = neighbors[-1] = 3.0
        into.copy_(torch.lerp(total / neighbors, draw(tuple(total.shape)), share))
    return fine
