"""Bases of the two most common kinds of defenses: a filter writes `apply`, a training-time defense writes `change`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from bench.api.context import Context
from bench.api.images import ImageSet, map_images
from bench.api.work import STEP_PASSES, no_network


@dataclass(frozen=True, kw_only=True)
class Filter(ABC):
    """Base of defenses that change each image by itself, the same way every time.

    Attributes:
        test_view: filter the test images too.
    """

    test_view: bool = False

    work = no_network

    @abstractmethod
    def apply(self, images_u8: Tensor) -> Tensor:
        """The filtered images: uint8 (N, C, H, W) in, the same out; deterministic, independent of the batch."""

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """Every training image, filtered once."""
        with ctx.phase("apply"):
            return map_images(train, lambda images_u8, rows: self.apply(images_u8), ctx)

    def view(self, images_u8: Tensor) -> Tensor:
        """Test images: filtered if `test_view` is on, else the images themselves."""
        return self.apply(images_u8) if self.test_view else images_u8


class LossDefense(ABC):
    """Base of defenses that change the images of every training step and keep the loss: mean cross-entropy.

    A defense with another loss needs no base: it writes `batch_loss` itself.

    Attributes:
        replayable: see `TrainsDifferently`.
    """

    replayable: ClassVar[bool] = False

    @property
    def step_passes(self) -> float:
        """Passes for each image of a batch, those of the victim included; the number of plain training by default."""
        return STEP_PASSES

    @abstractmethod
    def change(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """The images to train on.

        Args:
            model: the victim; must have the same train/eval mode and requires_grad afterwards.
            images_01: float (B, C, H, W) in [0, 1], augmented, on the device; not modified.
            labels: int64 (B,).
            ctx: gives random numbers by `ctx.stream(purpose)`.
        """

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """Mean cross-entropy of the model on the changed images."""
        logits = model(self.change(model, images_01, labels, ctx))
        return functional.cross_entropy(logits.float(), labels)
