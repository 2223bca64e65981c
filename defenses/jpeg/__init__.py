"""JPEG compression of the training images at any quality.

The poison's high-frequency and colored parts do not survive quantisation. Baseline JPEG with the IJG tables and 4:2:0
chroma, the imaging libraries' default; each image is coded by itself, before any crop, so that the 8x8 grid and the
borders are those of the published codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.api import Filter
from bench.registry import defenses
from defenses.jpeg.codec import jpeg_round_trip
from defenses.jpeg.differentiable import differentiable_jpeg

_SWEEP = (10, 30, 50, 70, 90)
defenses.sweep("jpeg-sweep", [f"jpeg:quality={quality}" for quality in _SWEEP])


def check_quality(name: str, quality: int) -> None:
    """Raises ValueError unless 1 <= quality <= 100."""
    if not 1 <= quality <= 100:
        raise ValueError(f"{name}: quality must be in 1..100, got {quality}")


@defenses.register("jpeg", deterministic=True)
@dataclass(frozen=True)
class Jpeg(Filter):
    """Compress every training image once, at a quality of one's choice.

    `jpeg-sweep` selects the qualities 10, 30, 50, 70 and 90, each a row of its own.

    Attributes:
        quality: 1 (strongest) to 100. CIFAR-10 keeps about 26.4 dB at 30, 29.9 dB at 75.
    """

    quality: int = 50

    def __post_init__(self) -> None:
        check_quality("jpeg", self.quality)

    def apply(self, images_u8: Tensor) -> Tensor:
        """Images after one encoding and decoding."""
        return jpeg_round_trip(images_u8, self.quality)

    def differentiable(self, images_01: Tensor) -> Tensor:
        """The same with gradients, see `defenses.jpeg.differentiable`."""
        return differentiable_jpeg(images_01, self.quality)
