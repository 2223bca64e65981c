"""Predictions and accuracy of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import ImageSet
from bench.training.numbers import autocast, to_float


class TrainingDivergedError(Exception):
    """A loss, a weight or an output became NaN or infinite; the message names what, when and the remedy."""


@torch.no_grad()
def predict(model: nn.Module, images_u8: Tensor, device: torch.device, batch_size: int | None = None) -> Tensor:
    """Predicted class of every image, int64 (N,) on the device; the model is in eval mode and left as it was.

    The batch is 1,000 images on a GPU and 100 on a CPU, whose caches hold no more, unless given.

    Raises:
        TrainingDivergedError: if outputs are NaN or infinite, of which no class can be read. They are counted on the
            device, and the count is read once, at the end.
    """
    batch_size = batch_size or (1000 if device.type == "cuda" else 100)
    was_training = model.training
    model.eval()
    largest: list[Tensor] = []
    found: list[Tensor] = []
    for start in range(0, len(images_u8), batch_size):
        images = to_float(images_u8[start : start + batch_size].to(device, non_blocking=True))
        with autocast(device):
            for kept, part in zip((largest, found), model(images).max(dim=1), strict=True):
                kept.append(part)
    model.train(was_training)
    if unread := _unread(largest):
        raise TrainingDivergedError(
            f"the network diverged: its outputs are NaN or infinite for {unread} of {len(images_u8)} images; lower lr"
        )
    return torch.cat(found)


def _unread(largest: list[Tensor]) -> int:
    """Number of images without a finite largest output, which is NaN if any output is."""
    return int((~torch.cat(largest).isfinite()).sum())


def accuracy(model: nn.Module, data: ImageSet, device: torch.device) -> float:
    """Share of images classified as labelled, in [0, 1]."""
    return float((predict(model, data.images, device) == data.labels.to(device)).float().mean())
