"""The authors' augmentation: turned, sheared and scaled images, other colors, CutMix.

kornia moves and recolors the images on the device, each by its own draws; a transform of torchvision v2 draws once for
a batch. CutMix is that of the defense `cutmix`.

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

from bench.api import STEP_PASSES, Context
from bench.registry import defenses
from defenses.mixing import draw_boxes, mix
from defenses.orthogonal_projection.projection import OrthogonalProjection


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
    from kornia.geometry.transform import get_affine_matrix2d, warp_affine

    count, _, height, width = images_01.shape
    turn, shear, size = 2 * torch.rand((3, count), generator=generator, device=generator.device) - 1
    zero = torch.zeros_like(turn)
    center = torch.stack([zero + (width - 1) / 2, zero + (height - 1) / 2], dim=1)
    sizes = (1 + scale * size)[:, None].expand(-1, 2)
    shears = shear * math.radians(degrees)
    matrix = get_affine_matrix2d(torch.zeros_like(center), center, sizes, turn * degrees, sx=shears, sy=zero)
    return warp_affine(images_01, matrix[:, :2], (height, width), align_corners=False)


def recolored(images_01: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    """Each image with another brightness, contrast and saturation, in this order; float (B, C, H, W) in [0, 1]."""
    from kornia import enhance

    factors = 1 + jitter * (2 * torch.rand((3, len(images_01)), generator=generator, device=generator.device) - 1)
    brightness, contrast, saturation = factors
    images = enhance.adjust_brightness_accumulative(images_01, brightness)
    images = enhance.adjust_contrast_with_mean_subtraction(images, contrast)
    return enhance.adjust_saturation_with_gray_subtraction(images, saturation)
