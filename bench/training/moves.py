"""Shifts and flips of each image by its own amount: drawn first, then applied, so that they can be replayed.

Both kinds are differentiable in the images: crops by whole pixels after zero padding (resized ones:
`bench.training.crops`), and bilinear shifts by fractions of a pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from bench.training.batches import shift_and_flip


@dataclass(frozen=True)
class Moves:
    """One move an image.

    Attributes:
        dy: (B,) rows; output row i shows input row i + dy. int64 for crops, float32 for shifts.
        dx: (B,) columns, before mirroring.
        flip: bool (B,).
    """

    dy: Tensor
    dx: Tensor
    flip: Tensor

    def __getitem__(self, rows: slice) -> "Moves":
        return Moves(self.dy[rows], self.dx[rows], self.flip[rows])

    def to(self, device: torch.device) -> "Moves":
        """The same moves on a device."""
        return Moves(*(part.to(device, non_blocking=True) for part in (self.dy, self.dx, self.flip)))


def draw_crops(count: int, padding: int, flip: bool, generator: torch.Generator) -> Moves:
    """Crops of the original size after padding, uniform over the (2 * padding + 1)^2 places, on the generator's device.

    Args:
        count: of images.
        padding: in pixels.
        flip: mirror half of the images.
        generator: of the draws.
    """
    device = generator.device
    dy, dx = torch.randint(-padding, padding + 1, (2, count), generator=generator, device=device)
    return Moves(dy, dx, draw_flips(count, flip, generator))


def crop(images: Tensor, moves: Moves) -> Tensor:
    """Images (B, C, H, W) cropped by whole pixels; black (0) comes in at the border."""
    return shift_and_flip(images, moves.dy, moves.dx, moves.flip)


def draw_shifts(count: int, pixels: float, flip: bool, generator: torch.Generator) -> Moves:
    """Shifts uniform in -pixels..pixels along both axes, on the generator's device.

    Args:
        count: of images.
        pixels: largest shift.
        flip: mirror half of the images.
        generator: of the draws.
    """
    dy, dx = (2 * torch.rand((2, count), generator=generator, device=generator.device) - 1) * pixels
    return Moves(dy, dx, draw_flips(count, flip, generator))


def shift(images: Tensor, moves: Moves, fill: Tensor) -> Tensor:
    """Images moved by fractions of a pixel, bilinear.

    Args:
        images: float (B, C, H, W).
        moves: B of them.
        fill: (C,) the color that comes in at the border; at the border pixels blend into it.
    """
    height, width = images.shape[-2:]
    y, x = (torch.linspace(-1, 1, size, device=images.device) for size in (height, width))
    columns = torch.where(moves.flip[:, None], -x, x) + moves.dx[:, None] * (2 / max(width - 1, 1))
    rows = y + moves.dy[:, None] * (2 / max(height - 1, 1))
    grid = torch.stack(
        [columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)], dim=-1
    )  # corner pixels lie at -1 and 1
    fill = fill.view(-1, 1, 1)
    return grid_sample(images - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=True) + fill


def draw_flips(count: int, flip: bool, generator: torch.Generator) -> Tensor:
    """bool (count,), on the generator's device: which images to mirror; about half of them, or none."""
    return torch.rand(count, generator=generator, device=generator.device) < (0.5 if flip else 0.0)
