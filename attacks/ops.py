"""OPS: one-pixel shortcut (Wu et al., ICLR 2023, arXiv:2205.12141).

All images of a class get one color at one position: the pair that stands out most from the clean images of the class.
The authors' code scans all images for each of the 8 H W candidates; here the first and second moments of the pixels,
accumulated once as exact integers, give the same scores.

Deviations from the authors' code (`cychomatica/One-Pixel-Shotcut`):
- any image size, number of channels and of classes; theirs is written for 10 classes of square color images;
- with `sparsity` > 1 the positions of a class are distinct; theirs may write two colors to one position;
- ties go to the first position and color, so that the result depends on nothing but the images.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.api import Budget, Context, ImageSet, PartialPoison, map_images, no_network
from bench.errors import UserError
from bench.registry import attacks


@attacks.register("ops", source="arXiv:2205.12141", deterministic=True)
@dataclass(frozen=True)
class Ops(PartialPoison):
    """One pixel of one color for each class, chosen from the clean images; deterministic.

    Costs one pass over the pixels. Survives adversarial training; a median filter or a crop removes it, and so does
    any lossy export of the images.

    Attributes:
        sparsity: pixels changed in each image.
        objective: `code` ranks by mean / standard deviation over images and channels, as released; `paper` by
            mean / variance of the distance summed over channels. They choose different colors.
    """

    sparsity: int = 1
    objective: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity < 1:
            raise ValueError(f"ops: sparsity must be at least 1 pixel, got {self.sparsity}")
        if self.objective not in ("code", "paper"):
            raise ValueError(f"ops: objective must be code or paper, got {self.objective!r}")

    @property
    def budget(self) -> Budget:
        return Budget("l0", self.sparsity)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if an image has too few pixels for the sparsity and the number of classes."""
        channels, height, width = train.info.shape
        if self.sparsity > height * width:
            raise UserError(f"ops: sparsity {self.sparsity} exceeds the {height * width} pixels of an image")
        if train.info.num_classes * self.sparsity > height * width * len(_corners(channels)):
            raise UserError(f"ops: {train.info.num_classes} classes leave no free pixel; use larger images")

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        return self.poison_onto(train, train, ctx)

    def poison_onto(self, clean: ImageSet, poisoned: ImageSet, ctx: Context) -> ImageSet:
        """Overwrites pixels of `poisoned`, chosen from the clean images (CIFAR-10-S of the paper is `em+ops`)."""
        with ctx.phase("search"):
            positions, colors = self._search(clean)

        def write(images: Tensor, rows: slice) -> Tensor:
            written, labels = images.flatten(2).clone(), poisoned.labels[rows]
            for position, color in zip(positions[labels].T, colors[labels].unbind(1), strict=True):
                written[torch.arange(len(written)), :, position] = color
            return written.view_as(images)

        with ctx.phase("write"):
            return map_images(poisoned, write, ctx)

    def _search(self, train: ImageSet) -> tuple[Tensor, Tensor]:
        """For each class `sparsity` flat positions (K, n) and colors uint8 (K, n, C), best first."""
        self.check_fit(train)
        channels, height, width = train.info.shape
        counts = torch.bincount(train.labels, minlength=train.info.num_classes)
        if empty := [label for label in self.chosen_classes(train.info.num_classes) if counts[label] == 0]:
            raise UserError(
                f"ops: no images of class {empty} to choose a pixel from; "
                "raise poison_rate, or set stratified=true or craft_on=all"
            )
        sums, products = _moments(train)
        corners = _corners(channels)
        free = torch.ones(height * width, len(corners), dtype=torch.bool)
        positions, colors = [], []
        for count, total, product in zip(counts.tolist(), sums, products, strict=True):
            if count == 0:  # not to be poisoned, and not among the images crafted from: there is nothing to write to
                positions.append(torch.zeros(self.sparsity, dtype=torch.int64))
                colors.append(corners[positions[-1]])
                continue
            score = _score(count, total, product, corners, self.objective).masked_fill(~free, -1)
            best, color = score.max(dim=1)
            position = best.sort(descending=True, stable=True).indices[: self.sparsity]
            if (best[position] < 0).any():
                raise UserError(f"ops: {train.info.num_classes} classes leave no free pixel; use larger images")
            free[position, color[position]] = False
            positions.append(position)
            colors.append(corners[color[position]])
        return torch.stack(positions), torch.stack(colors).to(torch.uint8)


def _corners(channels: int) -> Tensor:
    """The extreme colors, int64 (2^C, C) of 0 and 255; the first channel is the most significant bit."""
    return torch.cartesian_prod(*[torch.tensor([0, 255])] * channels).view(-1, channels)


def _moments(train: ImageSet) -> tuple[Tensor, Tensor]:
    """Sums of the levels and of their products between channels, int64 (K, C, HW) and (K, C, C, HW): exact.

    A chunk's sums are exact in float32, which is faster: 256 * 255**2 < 2**24.
    """
    channels, height, width = train.info.shape
    sums = torch.zeros(train.info.num_classes, channels, height * width, dtype=torch.int64)
    products = sums.new_zeros(len(sums), channels, channels, height * width)
    for images, labels in zip(torch.split(train.images, 256), torch.split(train.labels, 256), strict=True):
        levels = images.flatten(2).float()
        present, index = labels.unique(return_inverse=True)
        part = levels.new_zeros(len(present), *levels.shape[1:])
        sums[present] += part.index_add(0, index, levels).to(torch.int64)
        for channel in range(channels):
            product = part.index_add(0, index, levels[:, channel, None] * levels)
            products[present, channel] += product.to(torch.int64)
    return sums, products


def _score(count: int, total: Tensor, product: Tensor, corners: Tensor, objective: str) -> Tensor:
    """Distance and evenness of each color from a class's pixels, float64 (HW, 2^C); 0 if they are equal.

    The distance to an extreme color is linear in the level x: |c - x| = c + s * x with s = -1 at 255 and 1 at 0.
    """
    sign = 1 - 2 * (corners > 0).to(torch.int64)
    pull = torch.einsum("jp,cj->pc", total, sign)
    if objective == "code":
        samples = count * corners.shape[1]
        first = count * corners.sum(1) + pull
        squares = product.diagonal(dim1=0, dim2=1).sum(1, keepdim=True)
        # c * s is -c at both extremes
        second = count * corners.square().sum(1) - 2 * torch.einsum("jp,cj->pc", total, corners) + squares
    else:
        samples = count
        base = corners.sum(1)
        first = count * base + pull
        second = count * base.square() + 2 * base * pull + torch.einsum("jlp,cj,cl->pc", product, sign, sign)
    variance = (samples * second - first.square()).double()  # times samples^2, exact before the conversion
    score = first / (variance.sqrt() if objective == "code" else variance / samples)
    return score.masked_fill(first == 0, 0)
