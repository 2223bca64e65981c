"""A trained D-VAE as a function with gradients: what an attacker who knows the defense looks through.

The value of each stage is the defense's. Where the defense clips and rounds, the gradient is that of the identity
(straight-through). Codes are drawn anew at each call: an attack whose steps each ask for a gradient follows its
expectation over the sampling (EOT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from bench.api import Context
from bench.training import autocast, seeded, to_uint8
from defenses.dvae.network import DisentanglingVae


def see_through(
    networks: Sequence[DisentanglingVae], sample: bool, rounding: str, ctx: Context
) -> Callable[[Tensor, Tensor], Tensor]:
    """The purification of images by trained networks, which keep their weights.

    Args:
        networks: of the stages, two at most, in eval mode; without any, images stay as they are.
        sample: draw the codes; else their means are used.
        rounding: to 8 bits, after each stage: `nearest` or `floor`.
        ctx: seeds the draws (`see-through`).

    Returns:
        float (B, C, H, W) in [0, 1] and int64 labels (B,) to float32 images of that shape on 8-bit levels.
    """
    if not networks:
        return lambda images_01, labels: images_01
    draws = ctx.generator("see-through")
    for network in networks:
        network.eval().requires_grad_(False)

    def see(images_01: Tensor, labels: Tensor) -> Tensor:
        first, *second = networks
        with seeded(draws, images_01.device), autocast(images_01.device):
            seen = _levels(images_01 - first.estimate(images_01, labels, sample), rounding)
            for network in second:
                rest = seen - network.estimate(seen, labels, sample)
                seen = _levels(network.reconstruct(_straight(rest, rest.clamp(0, 1)), sample), rounding)
        return seen

    return see


def _levels(images_01: Tensor, rounding: str) -> Tensor:
    """Clipped and rounded as the defense does it."""
    images_01 = images_01.float()
    return _straight(images_01, to_uint8(images_01.detach(), rounding).float() / 255)


def _straight(images_01: Tensor, value: Tensor) -> Tensor:
    """This value with the gradient of `images_01`."""
    return images_01 + (value - images_01).detach()
