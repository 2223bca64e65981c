"""The authors' augmentation: moved, turned, sheared and scaled images, other colors, CutMix.

Deviations:
- Pixels between pixels are interpolated linearly; the library of the authors takes the nearest one.
- CutMix draws for each image, with probability 0.5, and not once for a batch.
- Images are not normalized by mean and deviation: that is the victim's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import STEP_PASSES, Context
from bench.registry import defenses
from defenses.mixing import draw_boxes, mix
from defenses.orthogonal_projection.projection import OrthogonalProjection

_GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class _Augments:
    """Base of defenses that train with this augmentation.

    Attributes:
        degrees: largest rotation, and largest shear, to either side.
        scale: largest share by which an image shrinks or grows.
        jitter: largest share by which brightness, contrast and saturation change.
        cutmix: probability of pasting a box of another image.
    """

    degrees: float = 10.0
    scale: float = 0.2
    jitter: float = 0.2
    cutmix: float = 0.5

    step_passes = STEP_PASSES

    def _check(self) -> None:
        if not 0 <= self.degrees <= 45:
            raise ValueError(f"degrees must be in 0..45, got {self.degrees:g}")
        for name in ("scale", "jitter"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name):g}")
        if not 0 <= self.cutmix <= 1:
            raise ValueError(f"cutmix is a probability in 0..1, got {self.cutmix:g}")

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """Soft cross-entropy on the augmented images."""
        generator = ctx.stream("augment")
        with torch.no_grad(), torch.autocast(images_01.device.type, enabled=False):
            moved = moved_at_random(images_01, self.degrees, self.scale, generator)
            colored = recolored(moved, self.jitter, generator)
            mixed = mix(colored, draw_boxes, 1, self.cutmix, generator)
        return mixed.loss(model, labels)


@defenses.register("aug", source="arXiv:2305.19254")
@dataclass(frozen=True)
class Augmentation(_Augments):
    """Train with the strong augmentation of the orthogonal projection's authors, and without the projection.

    The control of `op-aug`: what it reaches is no merit of the projection. Costs next to nothing.
    """

    def __post_init__(self) -> None:
        self._check()


@defenses.register("op-aug", source="arXiv:2305.19254")
@dataclass(frozen=True)
class ProjectionAndAugmentation(_Augments, OrthogonalProjection):
    """Orthogonal projection (`op`), then training with strong augmentation (`aug`): the paper's numbers mix both."""

    def __post_init__(self) -> None:
        self._check()
        OrthogonalProjection.__post_init__(self)


def moved_at_random(images_01: Tensor, degrees: float, scale: float, generator: torch.Generator) -> Tensor:
    """Each image turned, sheared (along its rows) and scaled around its center by its own draws; black comes in.

    Args:
        images_01: float (B, C, H, W); not modified.
        degrees: bound of rotation and of shear.
        scale: bound of the change of size, as a share.
        generator: on the device.
    """
    turn, shear, size = 2 * torch.rand((3, len(images_01)), generator=generator, device=generator.device) - 1
    turn, shear = turn * math.radians(degrees), shear * math.radians(degrees)
    size = 1 + scale * size
    # What comes from where: the inverse of scaling a rotated and sheared image.
    cosine, sine = turn.cos() / size, turn.sin() / size
    zero = torch.zeros_like(turn)
    across = shear.tan()
    # The grid's coordinates run over both sides from -1 to 1, so that a turn of an oblong image needs its ratio.
    ratio = images_01.shape[2] / images_01.shape[3]
    rows = torch.stack([cosine - across * sine, (sine + across * cosine) * ratio, zero], dim=1)
    columns = torch.stack([-sine / ratio, cosine, zero], dim=1)
    grid = functional.affine_grid(torch.stack([rows, columns], dim=1), list(images_01.shape), align_corners=False)
    return functional.grid_sample(images_01, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def recolored(images_01: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    """Each image with another brightness, contrast and saturation, in this order; float (B, C, H, W) in [0, 1]."""
    factors = 1 + jitter * (2 * torch.rand((3, len(images_01)), generator=generator, device=generator.device) - 1)
    brightness, contrast, saturation = factors[:, :, None, None, None]
    images = (images_01 * brightness).clamp(0, 1)
    images = torch.lerp(_gray(images).mean(dim=(2, 3), keepdim=True), images, contrast).clamp(0, 1)
    return torch.lerp(_gray(images), images, saturation).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    """Luminance, (B, 1, H, W)."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    red, green, blue = (weight * images[:, i : i + 1] for i, weight in enumerate(_GRAY))
    return red + green + blue
