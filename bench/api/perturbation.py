"""From a real-valued perturbation to 8-bit images: signed noise is added first and clipped after, for every attack.

Published pipelines that clip the noise itself to 0..255 lose its negative half; those that truncate `255 * (u + d)`
shift every unsaturated entry by about -0.49 levels (`rounding="floor"` reproduces the latter on request).
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from bench.api.context import Context
from bench.api.images import ImageSet, map_images

Rounding = Literal["nearest", "floor"]

_ENTRIES_AT_ONCE = 2**22  # of float64 noise: 32 MiB, 1365 images of 32x32
_GUARD = 1e-6  # of a level: 8 / 255 * 255 may come out as 7.9999999


def add_perturbation(
    images_u8: Tensor, delta: Tensor, rounding: Rounding = "nearest", linf: float | None = None
) -> Tensor:
    """Adds `delta` and rounds to 8 bits, without ever leaving an L-inf budget.

    An L2 norm is not preserved: `nearest` adds at most 0.5 * sqrt(C*H*W) / 255, `floor` at most twice that;
    clipping only shrinks it.

    Args:
        images_u8: uint8, any shape; not modified.
        delta: floating point, the same shape, on the [0, 1] scale.
        rounding: `nearest` (half to even), or `floor`, which truncates the perturbed image.
        linf: radius of an L-inf budget; entries are clamped to floor(255 * linf) levels after rounding.

    Returns:
        uint8, the shape of `images_u8`.

    Raises:
        ValueError: if the shapes differ or `delta` is not finite.
    """
    if delta.shape != images_u8.shape:
        raise ValueError(f"the perturbation is {tuple(delta.shape)}, but the images are {tuple(images_u8.shape)}")
    levels = delta * 255
    if not torch.isfinite(levels).all():
        raise ValueError("the perturbation has entries that are NaN or infinite; the attack that made it is broken")
    limit = 255 if linf is None else min(255, math.floor(255 * linf + _GUARD))
    levels = levels.round() if rounding == "nearest" else (levels + _GUARD).floor()
    return (images_u8.to(torch.int16) + levels.clamp(-limit, limit).to(torch.int16)).clamp(0, 255).to(torch.uint8)


def perturb(
    train: ImageSet,
    make_delta: Callable[[slice], Tensor],
    ctx: Context,
    rounding: Rounding = "nearest",
    linf: float | None = None,
) -> ImageSet:
    """Adds a perturbation to a whole set, a few thousand images at a time.

    Args:
        train: not modified.
        make_delta: gets positions in ascending order, returns their noise (n, C, H, W) on the [0, 1] scale.
        ctx: reports progress and provides the output.
        rounding: see `add_perturbation`.
        linf: see `add_perturbation`.
    """
    return map_images(
        train,
        lambda images, rows: add_perturbation(images, make_delta(rows), rounding, linf),
        ctx,
        chunk=max(1, _ENTRIES_AT_ONCE // math.prod(train.info.shape)),
    )
