"""`shapes`: ten outlines drawn on noise, the embedded data set. Needs no file and learns in seconds; poisons work.

Every image has a foreground outline (its class) at a random place, size and rotation, in any color with a weak
gradient, on a background near mid-gray with a weak gradient and a smooth texture. Color and position carry no
information about the class, so neither the mean color nor a linear model on pixels tells the classes apart.

The contrast is chosen so that all attacks work and defenses undo them. Edges are soft and the background is calm,
because an AR poison is found only where little else varies between neighboring pixels. But the background is not flat:
on a flat one the half of an LSP poison that gray and JPEG keep, its luminance, would still be a shortcut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import DataInfo, ImageSet
from bench.datasets.splits import Splits
from bench.datasets.subsets import Sizes, Subset
from bench.registry import datasets

_EDGE_PIXELS = 2.5  # width of the soft edge
_TEXTURE = 0.042  # standard deviation of the background's texture, on the [0, 1] scale


@datasets.register("shapes", deterministic=True)
@dataclass(frozen=True, kw_only=True)
class Shapes(Subset):
    """Ten procedural outlines in random colors; embedded, nothing to download.

    Attributes:
        train: number of training images (default 2,000).
        test: number of test images (default 1,000).
        clean: number of images drawn besides, which no attack sees.
        seed: of the drawing.
        size: side of the square images in pixels.
    """

    size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 16 <= self.size <= 512:
            raise ValueError(f"size must be in 16..512 pixels, got {self.size}")

    @property
    def sizes(self) -> Sizes:
        """Of both splits; `clean` takes nothing from them."""
        return Sizes(self.train or 2000, self.test or 1000, len(_OUTLINES), (3, self.size, self.size))

    def load(self, root: Path) -> Splits:
        """Draws both splits; `root` is not used."""
        generator = torch.Generator().manual_seed(2 * self.seed)
        return Splits(
            _draw_set(self.sizes.train_images, self.size, generator),
            _draw_set(self.sizes.test_images, self.size, torch.Generator().manual_seed(2 * self.seed + 1)),
            clean=_draw_set(self.clean, self.size, generator) if self.clean else None,
        )


def _draw_set(count: int, size: int, generator: torch.Generator) -> ImageSet:
    labels = (torch.arange(count) % len(_OUTLINES))[torch.randperm(count, generator=generator)]
    chunks = [_draw(part, size, generator) for part in torch.split(labels, 500)]
    return ImageSet(torch.cat(chunks), labels, DataInfo("shapes", len(_OUTLINES), (3, size, size)))


def _draw(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """uint8 (n, 3, size, size): one image a label."""
    count = len(labels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand((count, *shape), generator=generator, dtype=torch.float64)

    axis = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")

    background = _gradient(uniform(0.455, 0.545, 3), uniform(-0.045, 0.045, 3, 2), x, y)
    foreground = _contrasting(uniform(0, 1, 3), background.mean(dim=(2, 3)))
    foreground = _gradient(foreground, uniform(-0.045, 0.045, 3, 2), x, y)

    angle = uniform(-math.pi / 6, math.pi / 6, 1, 1)
    scale = uniform(0.45, 0.68, 1, 1)
    u = x - uniform(-0.25, 0.25, 1, 1)
    v = y - uniform(-0.25, 0.25, 1, 1)
    p = (angle.cos() * u + angle.sin() * v) / scale
    q = (angle.cos() * v - angle.sin() * u) / scale
    distance = torch.empty(count, size, size, dtype=torch.float64)
    for k, outline in enumerate(_OUTLINES):
        rows = labels == k
        distance[rows] = outline(p[rows], q[rows])
    cover = (0.5 - distance * scale * size / 2 / _EDGE_PIXELS).clamp(0, 1)[:, None]

    noise = torch.randn((count, 3, 4, 4), generator=generator, dtype=torch.float64) * _TEXTURE
    texture = functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)
    images = background * (1 - cover) + foreground * cover + texture
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def _gradient(color: Tensor, slope: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return color[:, :, None, None] + slope[:, :, 0, None, None] * x + slope[:, :, 1, None, None] * y


def _contrasting(color: Tensor, background: Tensor) -> Tensor:
    """The color pushed away from the background's luminance where the two are closer than 0.35."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    gap = ((color - background) * weights).sum(dim=1, keepdim=True)
    push = (0.35 - gap.abs()).clamp(min=0) * torch.where(gap < 0, -1.0, 1.0)
    return (color + push).clamp(0, 1)


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _circle(x: Tensor, y: Tensor, radius: float) -> Tensor:
    return torch.hypot(x, y) - radius


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(y - 0.6, x.abs() * math.sqrt(3) / 2 - y / 2 - 0.5)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95))


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return _circle(x, y, 0.72).abs() - 0.2


def _diamond(x: Tensor, y: Tensor) -> Tensor:
    return (x.abs() / 0.6 + y.abs() / 1.05 - 1) * 0.52


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(_circle(x, y, 0.95), -_circle(x - 0.5, y, 0.75))


def _two_discs(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_circle(x - 0.55, y, 0.42), _circle(x + 0.55, y, 0.42))


def _flower(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.68 - 0.26 * torch.cos(5 * torch.atan2(y, x))) * 0.6


# Signed distances in the outline's own frame (about one unit in radius); negative inside.
_OUTLINES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda x, y: _circle(x, y, 0.9),
    lambda x, y: _box(x, y, 0.78, 0.78),
    _triangle,
    _cross,
    _ring,
    _diamond,
    _crescent,
    lambda x, y: _box(x, y, 1.0, 0.27),
    _two_discs,
    _flower,
)
