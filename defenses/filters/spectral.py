"""Filters that keep a part of an image's description in another basis: cosines, wavelets, singular vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Filter
from bench.registry import defenses
from defenses.filters.cosine import low_pass
from defenses.filters.levels import filtered

_SCALE = 0.6745  # median size of a standard Gaussian number


@defenses.register("low-pass", source="folklore", deterministic=True)
@dataclass(frozen=True)
class LowPass(Filter):
    """Keep the lowest frequencies of every image (discrete cosine transform) and drop all others.

    Costs 0.1 ms per image on one core. Perturbations with large structures (LSP, a color for each class) pass.

    Attributes:
        keep: share of the rows and of the columns of coefficients that stay, in (0, 1]; 0.5 keeps a quarter of all.
    """

    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"low-pass: keep must be in (0, 1], got {self.keep:g}")

    def apply(self, images_u8: Tensor) -> Tensor:
        """Images of low frequencies."""
        return filtered(images_u8, lambda images: low_pass(images, self.keep))

    def differentiable(self, images_01: Tensor) -> Tensor:
        """The same without rounding, for attackers who know of it."""
        return low_pass(images_01, self.keep).clamp(0, 1)


@defenses.register("wavelet", source="doi:10.1109/83.862633", deterministic=True)
@dataclass(frozen=True)
class Wavelet(Filter):
    """Shrink the wavelet coefficients of every image by thresholds that follow from its own noise (BayesShrink).

    The noise is estimated from the finest diagonal coefficients, channel by channel: smooth images stay nearly as they
    are. Costs 0.15 ms per image on one core.

    Attributes:
        wavelet: name of an orthogonal wavelet of PyWavelets: `haar`, `db2`, `sym4`, ...
        levels: of the decomposition; fewer where the image is too small for them.
        strength: factor of the thresholds; 1 is the paper's.
    """

    wavelet: str = "db2"
    levels: int = 2
    strength: float = 1.0

    def __post_init__(self) -> None:
        import pywt

        choices = pywt.wavelist(kind="discrete")
        if self.wavelet not in choices:
            raise ValueError(f"wavelet: unknown wavelet {self.wavelet!r}; choices: {', '.join(choices)}")
        if not pywt.Wavelet(self.wavelet).orthogonal:
            raise ValueError(f"wavelet: {self.wavelet} is not orthogonal, so that its thresholds say nothing of noise")
        if self.levels < 1:
            raise ValueError(f"wavelet: levels must be at least 1, got {self.levels}")
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"wavelet: strength must be a finite number >= 0, got {self.strength}")

    def apply(self, images_u8: Tensor) -> Tensor:
        """Denoised images."""
        return filtered(images_u8, self._denoised)

    def _denoised(self, images: Tensor) -> Tensor:
        import pywt

        height, width = images.shape[-2:]
        most = pywt.dwt_max_level(min(height, width), self.wavelet)
        array = images.contiguous().numpy()
        coarse, *details = pywt.wavedec2(array, self.wavelet, "symmetric", max(1, min(self.levels, most)))
        finest = torch.from_numpy(details[-1][2]).flatten(2)
        # As in numpy: of an even number of values the mean of the two in the middle.
        noise = finest.abs().quantile(0.5, dim=2)[..., None, None] / _SCALE
        shrunk = [tuple(self._shrink(torch.from_numpy(band), noise).numpy() for band in level) for level in details]
        rebuilt = pywt.waverec2([coarse, *shrunk], self.wavelet, "symmetric")
        return torch.from_numpy(rebuilt)[..., :height, :width]

    def _shrink(self, band: Tensor, noise: Tensor) -> Tensor:
        """Soft threshold noise^2 / signal of each channel; a band that is all noise becomes zero."""
        signal = (band.square().mean(dim=(2, 3), keepdim=True) - noise.square()).clamp(min=0).sqrt()
        threshold = self.strength * noise.square() / signal
        threshold = torch.where(noise > 0, threshold, torch.zeros_like(threshold)).nan_to_num(nan=0.0, posinf=math.inf)
        return band.sign() * (band.abs() - threshold).clamp(min=0)


@defenses.register("svd", source="folklore", deterministic=True)
@dataclass(frozen=True)
class LowRank(Filter):
    """Keep the largest singular values of every channel, taken as a matrix of pixels, and drop the others.

    Costs 0.4 ms per image on one core.

    Attributes:
        rank: singular values that stay; from the image's side on, the image stays as it is.
    """

    rank: int = 8

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"svd: rank must be at least 1, got {self.rank}")

    def apply(self, images_u8: Tensor) -> Tensor:
        """Images of low rank, before they are rounded."""

        def truncated(images: Tensor) -> Tensor:
            left, values, right = torch.linalg.svd(images, full_matrices=False)
            return (left[..., : self.rank] * values[..., None, : self.rank]) @ right[..., : self.rank, :]

        return filtered(images_u8, truncated)
