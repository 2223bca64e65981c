"""Random resized crops on a whole batch: what torchvision's RandomResizedCrop does to one image at a time.

A box is a part of the original image. Its sides are fractions, so that an image that is stored squeezed into a square
(`ImageSet.aspect_ratios`) is cropped in its own geometry: what comes out is not distorted beyond the ratio drawn.

Differences from torchvision: a box does not end at whole pixels, and the result is not rounded to 8 bits. The resizing
is its bilinear one, which sees nothing outside the box. Antialiasing makes no difference: a box is never larger than
the stored image, whose size the result has, so nothing is ever made smaller here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE = (0.08, 1.0)  # share of the image's area
RATIO = (3 / 4, 4 / 3)  # width by height
_TRIES = 10


def check_squeezed(aspect_ratios: Tensor | None, random_resized_crop: bool) -> None:
    """Raises ValueError if squeezed images would be trained on as they are stored, distorted."""
    if random_resized_crop or aspect_ratios is None or bool((aspect_ratios == 1).all()):
        return
    low, high = float(aspect_ratios.min()), float(aspect_ratios.max())
    raise ValueError(
        f"the training images are stored whole, squeezed into squares (width by height {low:.2g} to {high:.2g}), and "
        "the recipe has no random resized crop, which undoes that; set random_resized_crop=true, or take the images "
        "from folder:fit=crop"
    )


def draw_boxes(aspect_ratios: Tensor, generator: torch.Generator) -> Tensor:
    """A box an image: area uniform in `SCALE`, ratio log-uniform in `RATIO`, position uniform.

    As in torchvision, the first of ten draws that fits inside the image counts; if none does, it is the largest box in
    the middle whose ratio is in `RATIO`.

    Args:
        aspect_ratios: float (N,), width by height of the original images.
        generator: of the draws; on the device of `aspect_ratios`.

    Returns:
        float32 (N, 4): top, left, height and width, as fractions of the image's height and width.
    """
    draws = torch.rand((4, len(aspect_ratios), _TRIES), generator=generator, device=aspect_ratios.device)
    area = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[0]
    low, high = (math.log(ratio) for ratio in RATIO)
    relative = torch.exp(low + (high - low) * draws[1]) / aspect_ratios[:, None]
    sizes = torch.stack([(area / relative).sqrt(), (area * relative).sqrt()])  # heights, widths
    fits = (sizes <= 1).all(dim=0)
    first = fits.int().argmax(dim=1, keepdim=True)
    height, width = sizes.gather(2, first.expand(2, -1, -1)).squeeze(2)
    top, left = (1 - torch.stack([height, width])) * draws[2:].gather(2, first.expand(2, -1, -1)).squeeze(2)
    chosen = torch.stack([top, left, height, width], dim=1)
    return torch.where(fits.any(dim=1, keepdim=True), chosen, _fallback(aspect_ratios))


def _fallback(aspect_ratios: Tensor) -> Tensor:
    height, width = (aspect_ratios / RATIO[0]).clamp(max=1), (RATIO[1] / aspect_ratios).clamp(max=1)
    return torch.stack([(1 - height) / 2, (1 - width) / 2, height, width], dim=1)


def center_boxes(aspect_ratios: Tensor) -> Tensor:
    """Box of a test image, a square of 7/8 of the shorter side in the middle; as `draw_boxes` writes it."""
    height, width = (7 / 8 * aspect_ratios).clamp(max=7 / 8), (7 / 8 / aspect_ratios).clamp(max=7 / 8)
    return torch.stack([(1 - height) / 2, (1 - width) / 2, height, width], dim=1)


def crop_and_resize(images: Tensor, boxes: Tensor, flip: Tensor | None = None) -> Tensor:
    """Each image's own box, resized to the size of the image and mirrored where `flip` is set; differentiable.

    Two small matrix products an image, the same on every device and repeatable to the bit, also backwards.

    Args:
        images: float (B, C, H, W).
        boxes: float (B, 4), as `draw_boxes` makes them, on the device of the images.
        flip: bool (B,), or None for no mirroring.

    Returns:
        float32 (B, C, H, W), channels-last.
    """
    height, width = images.shape[-2:]
    rows = _weights(boxes[:, 0], boxes[:, 2], height)
    columns = _weights(boxes[:, 1], boxes[:, 3], width)
    if flip is not None:
        columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(images.device.type, enabled=False):
        resized = rows[:, None] @ images.float().contiguous() @ columns[:, None].mT
    return resized.contiguous(memory_format=torch.channels_last)


def _weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, size, size): what each pixel of the result (a row) takes from each pixel of the image (a column)."""
    first, step = (start * size)[:, None, None], length[:, None, None]
    end = first + step * size
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)
    center = first + (pixel[:, None] + 0.5) * step - 0.5
    triangle = (1 - (center - pixel).abs()).clamp(min=0)
    inside = (torch.minimum(pixel + 1, end) - torch.maximum(pixel, first)).clamp(0, 1)  # share of the pixel in the box
    weights = triangle * inside
    return weights / weights.sum(dim=2, keepdim=True)
