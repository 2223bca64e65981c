"""The projection: a linear classifier, an orthonormal basis of its rows, images without their shares in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import STEP_PASSES, Context, DataInfo, ImageSet, Recipe, Work, map_images
from bench.registry import defenses
from bench.training import Batches, build, cross_entropy, fit, to_float, to_uint8

_FLAT = 1e-6  # of the largest singular value: a direction below it is none


@defenses.register("op", source="arXiv:2305.19254")
@dataclass(frozen=True)
class OrthogonalProjection:
    """Remove from all images the directions in which a linear classifier tells the classes apart.

    Costs seconds: a linear network and one product. Made for perturbations that are the same for a whole class (OPS);
    sample-wise ones (EM, REM, TAP) mostly survive. With many classes it removes many directions, brightness among them.

    Attributes:
        epochs: of the linear classifier; its learning rate is divided by ten after half and three quarters of them.
        batch_size: of its training, in the order of the set. With 50,000 images it sees 980 batches; a small set needs
            smaller ones for as many.
        lr: of its training (SGD without momentum).
        center: keep what the mean image has in these directions. It is the same for all images and tells no class.
            The paper does not. On 15 attacks it made no difference beyond one seed's noise (docs/measurements.md).
    """

    epochs: int = 20
    batch_size: int = 1024
    lr: float = 0.1
    center: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a finite number > 0, got {self.lr}")

    def work(self, info: DataInfo, images: int) -> Work:
        """The training of the classifier."""
        return Work(lambda: _linear(info), STEP_PASSES * self.epochs)

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The images without the directions of their labels."""
        directions = self.directions(train, ctx)
        with ctx.phase("apply"):
            middle = _mean(train, ctx) if self.center else torch.zeros(len(directions), device=ctx.device)
        removed, returned, clipped = (torch.zeros((), dtype=torch.float64, device=ctx.device) for _ in range(3))

        def project(images_u8: Tensor, rows: slice) -> Tensor:
            images = to_float(images_u8.to(ctx.device)).flatten(1)
            shares = (images - middle) @ directions
            result = images - shares @ directions.T
            rounded = to_uint8(result)
            removed.add_(shares.double().square().sum())
            returned.add_(((rounded.float() / 255 - middle) @ directions).double().square().sum())
            clipped.add_(((result < 0) | (result > 1)).double().sum())
            return rounded.view(images_u8.shape).cpu()

        with ctx.phase("apply"):
            purified = map_images(train, project, ctx)
        ctx.log("directions", directions.shape[1])
        ctx.log("returned_share", float(returned / removed.clamp(min=1e-12)))
        ctx.log("clipped_share", float(clipped) / train.images.numel())
        return purified

    def directions(self, train: ImageSet, ctx: Context) -> Tensor:
        """Orthonormal basis of what tells the classes apart, float32 (C * H * W, at most K), on the device."""
        recipe = Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=0.0,
            weight_decay=0.0,
            schedule="multistep",
            milestones=(self.epochs // 2, self.epochs * 3 // 4),
            clip_grad_norm=None,
        )
        model = build(lambda: _linear(train.info), ctx)
        batches = Batches(train, ctx.device, self.batch_size, ctx.generator("batch-order"), shuffle=False)
        fit(model, batches, cross_entropy(model), recipe, ctx)
        with ctx.phase("apply"):
            return basis(model[1].weight.detach().float().cpu()).to(ctx.device)


def basis(rows: Tensor) -> Tensor:
    """Orthonormal columns that span the rows of a matrix; float (K, d) -> (d, at most K)."""
    normalized = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    _, sizes, directions = torch.linalg.svd(normalized.double(), full_matrices=False)
    return directions[sizes > _FLAT * sizes[0]].T.to(rows.dtype)


def _mean(train: ImageSet, ctx: Context) -> Tensor:
    """The mean image, float32 (C * H * W,), on the device."""
    total = torch.zeros(train.images[0].numel(), dtype=torch.int64, device=ctx.device)
    for chunk in train.images.split(1024):
        total += chunk.to(ctx.device).flatten(1).sum(dim=0, dtype=torch.int64)
    return (total.double() / (255 * len(train))).float()


def _linear(info: DataInfo) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(info.shape), info.num_classes, bias=False))
