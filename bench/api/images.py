"""The nouns of every stage: a data set in words, and images with their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.api.context import Context


@dataclass(frozen=True)
class DataInfo:
    """Facts about a data set that are known without its pixels.

    Attributes:
        name: of the data set, never of the attack.
        num_classes: K; never inferred from labels.
        shape: (C, H, W) of one image.
    """

    name: str
    num_classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels. Immutable by agreement: nobody writes into its tensors.

    Attributes:
        images: uint8 (N, C, H, W) on the CPU; may be a memory-mapped file larger than memory.
        labels: int64 (N,) in 0..K-1.
        info: name, number of classes and image shape.
        aspect_ratios: float32 (N,), width by height of the original images, where whole images were squeezed into this
            shape (random resized crops undo it); None if they have the shape they had. Carried by
            `dataclasses.replace` and `take`.
    """

    images: Tensor
    labels: Tensor
    info: DataInfo
    aspect_ratios: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}; "
                "round to 0..255 and cast to uint8"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if tuple(self.images.shape[1:]) != self.info.shape:
            raise ValueError(f"images are {tuple(self.images.shape[1:])}, but info says {self.info.shape}")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.info.num_classes:
            raise ValueError(
                f"labels must lie in 0..{self.info.num_classes - 1}, "
                f"found {int(self.labels.min())}..{int(self.labels.max())}"
            )
        ratios = self.aspect_ratios
        if ratios is not None and (ratios.dtype != torch.float32 or ratios.shape != self.labels.shape):
            raise ValueError(
                f"aspect_ratios must be float32 ({len(self.images)},), got {ratios.dtype} {tuple(ratios.shape)}"
            )
        if ratios is not None and not bool((ratios.isfinite() & (ratios > 0)).all()):
            raise ValueError("aspect_ratios must be finite numbers > 0")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> ImageSet:
        """The images at these positions, in this order (a copy)."""
        ratios = None if self.aspect_ratios is None else self.aspect_ratios[rows.to(self.aspect_ratios.device)]
        return replace(self, images=self.images[rows], labels=self.labels[rows], aspect_ratios=ratios)


def draw_per_class(labels: Tensor, counts: Sequence[int], generator: torch.Generator) -> Tensor:
    """Positions of `counts[k]` images of the k-th class present, drawn without replacement, in ascending order."""
    rows = []
    for label, count in zip(torch.unique(labels), counts, strict=True):
        members = (labels == label).nonzero().flatten()
        rows.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(rows).sort().values


def map_images(
    train: ImageSet, transform: Callable[[Tensor, slice], Tensor], ctx: Context, chunk: int = 1024
) -> ImageSet:
    """Applies `transform(images_u8, rows) -> images_u8` chunk by chunk, so that sets larger than memory work.

    Args:
        train: not modified.
        transform: gets uint8 (n, C, H, W) and the positions as a slice; returns uint8 of the same shape.
        ctx: reports progress and provides the output.
        chunk: images at a time.
    """
    images = ctx.empty_images(tuple(train.images.shape))
    for start in range(0, len(train), chunk):
        rows = slice(start, min(start + chunk, len(train)))
        images[rows] = transform(train.images[rows], rows)
        ctx.progress(rows.stop, len(train))
    return replace(train, images=images)
