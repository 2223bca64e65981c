"""Trains one network of D-VAE or of its ablations, and runs it over a set.

What the losses are made of is summed on the device and read once an epoch, outside the timed phase: no step waits for
the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Context, ImageSet, Recipe, map_images
from bench.training import Batch, Batches, autocast, fit, seeded, to_float, to_uint8

# Positions of all images of a chunk at purification: 256 images of 32x32 on a GPU, 32 on a CPU, for its caches.
_CHUNK_PIXELS = {"cuda": 2**18, "cpu": 2**15}


def purifier_recipe(epochs: int, batch_size: int, lr: float) -> Recipe:
    """Adam without weight decay, cosine per epoch, gradient norm up to 5, no augmentation."""
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adam",
        lr=lr,
        weight_decay=0.0,
        crop_padding=0,
        flip=False,
    )


def train_network(
    network: nn.Module,
    train: ImageSet,
    terms: Callable[[Batch], dict[str, Tensor]],
    recipe: Recipe,
    ctx: Context,
    parameter_groups: Iterable[dict[str, Any]] | None = None,
) -> dict[str, float]:
    """Trains by the recipe on shuffled images without augmentation.

    Args:
        network: on `ctx.device`; left in eval mode.
        train: not modified.
        terms: named scalars of a batch, `replayable` as `fit` has it; the one called `loss` is minimized.
        recipe: of the training.
        ctx: provides randomness, phases and progress.
        parameter_groups: as in `bench.training.fit`.

    Returns:
        The mean of every term over the last epoch, measured in train mode while the weights move.
    """
    batches = Batches(
        train, ctx.device, recipe.batch_size, ctx.generator("batches"), shuffle=True, drop_last=recipe.drop_last
    )
    means: dict[str, float] = {}

    def sums_of_the_epoch() -> dict[str, Tensor]:
        return ctx.state("sums-of-the-epoch", dict)

    def loss(batch: Batch) -> Tensor:
        parts, sums = terms(batch), sums_of_the_epoch()
        for name, value in parts.items():
            if name not in sums:
                sums[name] = torch.zeros_like(value)
            sums[name] += value.detach()  # in place, also in a graph
        return parts["loss"]

    def after_epoch(epoch: int, mean_loss: float) -> None:
        for name, total in sums_of_the_epoch().items():
            means[name] = float(total) / len(batches)
            total.zero_()

    fit(
        network,
        batches,
        loss,
        recipe,
        ctx,
        parameter_groups=parameter_groups,
        after_epoch=after_epoch,
        replayable=True,
    )
    network.eval()
    return means


def rewrite_images(
    train: ImageSet,
    transform: Callable[[Tensor, Tensor, slice], Tensor],
    ctx: Context,
    rounding: str = "nearest",
    chunk: int | None = None,
) -> ImageSet:
    """The set with every image replaced by `transform(images_01, labels, rows)`, clipped and rounded to 8 bits.

    No gradient is kept. Torch's global generators are seeded inside, and chunks come in order, so the result depends
    on the seed alone. Chunks are processed under `autocast`, like the training.

    Args:
        train: not modified; order, labels and count are kept.
        transform: float (n, C, H, W) in [0, 1] and int64 (n,) on the device, and the positions in the set; returns
            float (n, C, H, W) of any range.
        ctx: provides device, randomness and phases.
        rounding: `nearest` or `floor`.
        chunk: images at a time; by default as many as suit the device.
    """
    pixels = train.images.shape[2] * train.images.shape[3]

    def rewrite(images_u8: Tensor, rows: slice) -> Tensor:
        images_01 = to_float(images_u8.to(ctx.device, non_blocking=True))
        with autocast(ctx.device):
            output = transform(images_01, train.labels[rows].to(ctx.device), rows)
        return to_uint8(output.float(), rounding)

    with ctx.phase("apply"), seeded(ctx.generator("apply-noise"), ctx.device), torch.no_grad():
        return map_images(train, rewrite, ctx, chunk or max(1, _CHUNK_PIXELS[ctx.device.type] // pixels))
