"""Filters of small neighborhoods, by kornia: Gaussian blur, median, bilateral. Images are mirrored at their borders."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bench.api import Filter, ImageSet
from bench.registry import defenses
from defenses.filters.levels import filtered


@defenses.register("gaussian-blur", source="folklore", deterministic=True)
@dataclass(frozen=True)
class GaussianBlur(Filter):
    """Average every pixel with its neighbors, weighted by a Gaussian: removes fine noise and fine detail alike.

    Costs 0.3 ms per image on one core. Perturbations with large structures (LSP) pass.

    Attributes:
        sigma: standard deviation of the Gaussian in pixels; the kernel ends at three of them.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not 0.3 <= self.sigma <= 10:
            # Below, the neighbors' weights vanish in 8 bits, and the row would repeat `none` under another name.
            raise ValueError(f"gaussian-blur: sigma must be in 0.3..10 pixels, got {self.sigma:g}")

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the kernel is larger than the images."""
        _check_margin("gaussian-blur", self._margin, train, "lower sigma")

    @property
    def _margin(self) -> int:
        return math.ceil(3 * self.sigma)

    def apply(self, images_u8: Tensor) -> Tensor:
        """Blurred images."""
        from kornia.filters import gaussian_blur2d

        size = 2 * self._margin + 1
        return filtered(images_u8, lambda images: gaussian_blur2d(images, size, (self.sigma, self.sigma)))

    def differentiable(self, images_01: Tensor) -> Tensor:
        """The same without rounding, for attackers who know of it."""
        from kornia.filters import gaussian_blur2d

        return gaussian_blur2d(images_01, 2 * self._margin + 1, (self.sigma, self.sigma))


@defenses.register("median", source="folklore", deterministic=True)
@dataclass(frozen=True)
class Median(Filter):
    """Replace every pixel by the median of the square around it: removes single pixels (OPS) and keeps edges.

    Costs 0.3 ms per image on one core.

    Attributes:
        size: side of the square in pixels, odd.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 3 or self.size % 2 == 0:
            raise ValueError(f"median: size must be odd and at least 3 pixels, got {self.size}")

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the square is larger than the images."""
        _check_margin("median", self.size // 2, train, "lower size")

    def apply(self, images_u8: Tensor) -> Tensor:
        """Images of medians, channel by channel."""
        from kornia.filters import median_blur

        return filtered(images_u8, lambda images: median_blur(images, self.size))

    def differentiable(self, images_01: Tensor) -> Tensor:
        """The same medians; the gradient of each goes to the one pixel that it is."""
        from kornia.filters import median_blur

        return median_blur(images_01, self.size)


@defenses.register("bilateral", source="folklore", deterministic=True)
@dataclass(frozen=True)
class Bilateral(Filter):
    """Average every pixel with those neighbors that have nearly its color: smooths noise and keeps edges.

    Costs 0.2 ms per image on one core.

    Attributes:
        size: side of the square of neighbors in pixels, odd.
        sigma_color: standard deviation of the Gaussian of color distances, on the [0, 1] scale.
        sigma_space: standard deviation of the Gaussian of places, in pixels.
    """

    size: int = 5
    sigma_color: float = 0.1
    sigma_space: float = 1.5

    def __post_init__(self) -> None:
        if self.size < 3 or self.size % 2 == 0:
            raise ValueError(f"bilateral: size must be odd and at least 3 pixels, got {self.size}")
        for name in ("sigma_color", "sigma_space"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"bilateral: {name} must be a finite number > 0, got {value}")

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the square is larger than the images."""
        _check_margin("bilateral", self.size // 2, train, "lower size")

    def apply(self, images_u8: Tensor) -> Tensor:
        """Smoothed images."""
        from kornia.filters import bilateral_blur

        space = (self.sigma_space, self.sigma_space)
        return filtered(images_u8, lambda images: bilateral_blur(images, self.size, self.sigma_color, space))

    def differentiable(self, images_01: Tensor) -> Tensor:
        """The same without rounding, for attackers who know of it."""
        from kornia.filters import bilateral_blur

        space = images_01.new_full((1, 2), self.sigma_space)  # kornia would copy numbers to a GPU, and wait for it
        return bilateral_blur(images_01, self.size, self.sigma_color, space)


def _check_margin(name: str, margin: int, train: ImageSet, remedy: str) -> None:
    """An image can be mirrored at its border by less than its own side."""
    side = min(train.info.shape[1:])
    if margin >= side:
        raise ValueError(f"{name} reaches {margin} pixels around a pixel, but the images have {side}; {remedy}")
