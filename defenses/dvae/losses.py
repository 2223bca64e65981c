"""The terms of D-VAE's objective (arXiv:2405.01460), as in the released code. All in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from defenses.dvae.network import Disentangled

AMPLITUDE_FLOOR = 0.002  # mean square on the [0, 1] scale: RMS 11.4 levels, twice the energy of an 8/255 sign pattern


def rate(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of the code from N(0, I), in nats per spatial position.

    Args:
        mu: float (B, L, h, w).
        logvar: the same shape.

    Returns:
        The sum over the L channels, averaged over batch, rows and columns. The cap is on this number, so a network
        with more positions a pixel may spend more nats a pixel.
    """
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=1).mean()


def hinge(value: Tensor, floor: float) -> Tensor:
    """max(value, floor): below the floor a constant without gradient."""
    return value.clamp(min=floor)


def rate_term(nats: Tensor, cap: float) -> Tensor:
    """Weighted hinge on the rate. The released code weighs caps up to 0.99 fifty times more than larger ones."""
    return (0.5 if cap <= 0.99 else 0.01) * hinge(nats, cap)


def disentangling_terms(out: Disentangled, images_01: Tensor, cap: float, amplitude: bool) -> dict[str, Tensor]:
    """The objective of one stage, and the parts worth recording.

    The reconstruction alone, and the reconstruction plus the perturbation, must both resemble the image. Nothing is
    detached: the second term reaches both decoders and the encoder.

    Args:
        out: of the network for these images.
        images_01: float (B, C, H, W) in [0, 1].
        cap: nats per position that are free.
        amplitude: whether the hinge on the perturbation's energy is active (it is not during the warm-up).

    Returns:
        `loss`, `kld` (nats per position), `reconstruction` and `perturbation` (mean squares, [0, 1] scale).
    """
    kld = rate(out.mu, out.logvar)
    reconstruction = functional.mse_loss(out.reconstruction, images_01)
    mixture = functional.mse_loss((out.reconstruction + out.perturbation).clamp(0, 1), images_01)
    energy = out.perturbation.square().mean()
    loss = reconstruction + mixture + rate_term(kld, cap)
    if amplitude:
        loss = loss + hinge(energy, AMPLITUDE_FLOOR)
    return {"loss": loss, "kld": kld, "reconstruction": reconstruction, "perturbation": energy}


def vae_terms(
    reconstruction_01: Tensor, mu: Tensor, logvar: Tensor, images_01: Tensor, cap: float
) -> dict[str, Tensor]:
    """The objective without the disentangling half: `loss`, `kld`, `reconstruction`."""
    kld = rate(mu, logvar)
    reconstruction = functional.mse_loss(reconstruction_01, images_01)
    loss = reconstruction + 0.01 * hinge(kld, cap)  # no jump of the weight at 0.99: the cap is there to be swept
    return {"loss": loss, "kld": kld, "reconstruction": reconstruction}


def psnr_db(mean_square: float) -> float:
    """Peak signal-to-noise ratio for an error on the [0, 1] scale."""
    return float(-10 * torch.log10(torch.tensor(max(mean_square, 1e-12))))
