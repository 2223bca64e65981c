"""Energy of a perturbation by spatial frequency and by channel."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.measure.diagnosis import chosen_rows
from bench.store.scores import BANDS

_CHUNK = 256
_CHANNELS = 3


def spectrum_scores(poisoned_u8: Tensor, clean_u8: Tensor, mask: Tensor) -> dict[str, float | None]:
    """Shares of the perturbation's energy by radial frequency band and by channel.

    The energy of a frequency is the squared modulus of the two-dimensional Fourier transform of a perturbation, summed
    over channels and images; its radius is sqrt(u^2 + v^2) in cycles per pixel, from 0 (the mean) to 0.71 (a
    checkerboard). At most 5,000 images of 3 x 32 x 32 are looked at, fewer of larger ones.

    Args:
        poisoned_u8: uint8 (N, C, H, W).
        clean_u8: the same before.
        mask: bool (N,), the images offered to the attack.

    Returns:
        `band_1`, ... as in `BANDS`, and for three channels `channel_1`, ...; all None without a poison.
    """
    rows = chosen_rows(mask, clean_u8)
    height, width = clean_u8.shape[2:]
    radius = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.fftfreq(width).square()).sqrt()
    band = torch.bucketize(radius, torch.tensor([low for low, _ in BANDS[1:]]), right=True).flatten()
    bands = torch.zeros(len(BANDS), dtype=torch.float64)
    channels = torch.zeros(clean_u8.shape[1], dtype=torch.float64)
    for part in torch.split(rows, _CHUNK):
        delta = poisoned_u8[part].float() - clean_u8[part].float()
        power = torch.fft.fft2(delta).abs().square().sum(dim=(0, 1)).flatten().double()
        bands.index_add_(0, band, power)
        channels += delta.square().sum(dim=(0, 2, 3)).double()
    energy = float(channels.sum())
    names = [f"band_{n + 1}" for n in range(len(BANDS))]
    shares = dict(zip(names, (bands / bands.sum()).tolist() if energy else [None] * len(BANDS), strict=True))
    for n in range(_CHANNELS):
        here = energy > 0 and len(channels) == _CHANNELS
        shares[f"channel_{n + 1}"] = float(channels[n]) / energy if here else None
    return shares
