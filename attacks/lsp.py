"""LSP: linearly separable synthetic perturbations (Yu et al., "Availability Attacks Create Shortcuts", KDD 2022).

Reads labels only: no pixels, no surrogate. Features of a class are a Gaussian cluster around a hypercube vertex; they
become colored patches.

Deviations from the authors' code (`dayu11/Availability-Attacks-Create-Shortcuts`):
- the clusters are drawn directly instead of by a general-purpose generator: same distribution, other numbers;
- exactly one vector per image is drawn, so that unbalanced classes work; theirs draws N / K for each class;
- images are rounded to nearest; theirs truncates (`rounding=floor`).
"""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from bench.api import Budget, Context, ImageSet, PartialPoison, Rounding, no_network, perturb
from bench.errors import UserError
from bench.registry import attacks


@attacks.register("lsp", source="arXiv:2111.00898")
@dataclass(frozen=True)
class Lsp(PartialPoison):
    """Sample-wise colored patches, linearly separable by class; needs only labels.

    Costs seconds for 50,000 images. Held-out linear separability of the noise is 1.0; entries reach about 10/255
    at the default radius, and patch borders are visible.

    The default radius is sqrt(3 * 32 * 32) * 6/255: the "6/255" of the authors is the root mean square of an image's
    noise, not an L-inf bound. At 224x224 that is eps=9.13, with patch=32. Tables that say "LSP, L2 1.0" mean eps=1.0.

    Attributes:
        eps: L2 norm of the noise of one image before rounding, at least 0.1.
        patch: side of a patch in pixels.
        separation: distance of the class centers from 0 along every feature axis.
        rounding: `nearest`, or `floor` as in the authors' code.
    """

    eps: float = 1.3041
    patch: int = 8
    separation: float = 10.0
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.eps) and self.eps >= 0.1):
            raise ValueError(
                f"lsp: eps is the L2 norm of a whole image and must be at least 0.1, got {self.eps:g}; "
                "6/255 for each entry of a 32x32 image is eps=1.3041"
            )
        if self.patch < 1:
            raise ValueError(f"lsp: patch must be at least 1 pixel, got {self.patch}; the paper uses 8")
        if not (math.isfinite(self.separation) and self.separation > 0):
            raise ValueError(f"lsp: separation must be a finite number > 0, got {self.separation}; the paper uses 10")
        if self.rounding not in get_args(Rounding):
            raise ValueError(f"lsp: rounding must be nearest or floor, got {self.rounding!r}")

    @property
    def budget(self) -> Budget:
        return Budget("l2", self.eps)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if there are more classes than patterns of patches."""
        size = self._size(train.info.shape)
        if train.info.num_classes > 2**size:
            height, width = train.info.shape[1:]
            remedy = "use a smaller patch" if self.patch > 1 else "use larger images or fewer classes"
            raise UserError(
                f"lsp: {train.info.num_classes} classes do not fit on {size} features (patches of {self.patch} pixels "
                f"on {width}x{height}); {remedy}"
            )

    def _size(self, shape: tuple[int, int, int]) -> int:
        """Features of an image: one per channel and patch."""
        return shape[0] * math.ceil(shape[1] / self.patch) * math.ceil(shape[2] / self.patch)

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        self.check_fit(train)
        with ctx.phase("features"):
            features = self._features(train, ctx)
        with ctx.phase("perturb"):
            return perturb(train, lambda rows: self._delta(features[rows], train.info.shape), ctx, self.rounding)

    def _features(self, train: ImageSet, ctx: Context) -> Tensor:
        """One feature vector per image, float64 (N, m): a correlated Gaussian around its class center."""
        size = self._size(train.info.shape)
        centers = self.separation * _distinct_vertices(train.info.num_classes, size, ctx.generator("centroid"))
        mixing = ctx.generator("coeff")
        features = torch.randn(len(train), size, generator=ctx.generator("delta-init"), dtype=torch.float64)
        for label, center in enumerate(centers):
            matrix = 2 * torch.rand(size, size, generator=mixing, dtype=torch.float64) - 1
            rows = train.labels == label
            features[rows] = features[rows] @ matrix + center
        return features

    def _delta(self, features: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Float64 (n, C, H, W) with L2 norm `eps` an image: every (row, column, color) feature fills one patch."""
        channels, height, width = shape
        grid = features.view(-1, math.ceil(height / self.patch), math.ceil(width / self.patch), channels)
        patches = grid.permute(0, 3, 1, 2).repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)
        delta = patches[..., :height, :width]
        return self.eps * delta / delta.square().sum((1, 2, 3), keepdim=True).sqrt()


def _distinct_vertices(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`count` different vertices of the hypercube {-1, 1}^size, float64 (count, size)."""
    found: list[list[int]] = []
    while len(found) < count:
        vertex = (2 * torch.randint(2, (size,), generator=generator) - 1).tolist()
        if vertex not in found:
            found.append(vertex)
    return torch.tensor(found, dtype=torch.float64)
