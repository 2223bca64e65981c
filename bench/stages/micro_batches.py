"""A training whose batches are too large for the GPU's memory: each batch in parts, whose gradients add up to its own.

The loss of a part is computed without keeping activations. Its backward pass computes them again, so memory holds those
of one part at a time, and a training takes about a third longer. Order, crops and flips are those of the whole batch.
"""

from __future__ import annotations

import gc

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from bench.api import Context, DataInfo
from bench.training import Batch, Loss, cross_entropy, seeded
from bench.training.snapshot import restored

PARTS = 4  # there is one more try, and it is over in seconds if it fails: the rehearsal comes first

_IMAGES = 4  # of the check: no more than a part has
_ROUNDING = 1e-3  # of a gradient; in float32 it is off by about 1e-6
_SMALL = 1e-6  # of all gradients: one that is zero by arithmetic consists of rounding


def in_parts(loss: Loss, parts: int = PARTS) -> Loss:
    """The same loss of a batch, from its parts, each weighted by its share of the images.

    Args:
        loss: the mean over a batch of what each image contributes, without random numbers; keeps nothing.
        parts: of a batch, of equal size but for the last one; a batch of fewer images has one for each.
    """

    def of_parts(batch: Batch) -> Tensor:
        pieces = zip(*(tensor.chunk(parts) for tensor in (batch.images_01, batch.labels, batch.rows)), strict=True)
        losses = []
        for images_01, labels, rows in pieces:
            part = Batch(images_01, labels, rows, batch.epoch)
            value: Tensor = checkpoint(loss, part, use_reentrant=False, preserve_rng_state=False)
            losses.append(value * (len(labels) / len(batch.labels)))
        return torch.stack(losses).sum()

    return of_parts


def why_not_in_parts(model: nn.Module, info: DataInfo, ctx: Context) -> str:
    """The reason why parts would not have the gradients of the whole batch; "" if they have.

    Looks for BatchNorm, then compares the gradients of four random images with those of two pairs, in float32. Leaves
    the network and torch's generators as they were.

    Args:
        model: on the device of `ctx`; without gradients.
        info: gives the size of an image and the number of classes.
        ctx: gives the device and the random numbers.
    """
    generator = ctx.generator("micro-batches")
    images_01 = torch.rand(_IMAGES, *info.shape, generator=generator).to(ctx.device)
    rows = torch.arange(_IMAGES, device=ctx.device)
    batch = Batch(images_01, rows % info.num_classes, rows, 0)
    with restored(model), seeded(generator, ctx.device):
        model.train()
        for name, layer in model.named_modules():
            if isinstance(layer, _BatchNorm) and layer.training:
                return f"the layer {name} ({type(layer).__name__}) computes with all images of a batch"
        before = [*_generators(ctx.device), *(buffer.clone() for buffer in model.buffers())]
        whole = _gradients(model, cross_entropy(model), batch)
        after = [*_generators(ctx.device), *model.buffers()]
        if not all(map(torch.equal, before, after)):
            return "in training the network draws random numbers (dropout), or keeps values of a batch in its buffers"
        parts = _gradients(model, in_parts(cross_entropy(model), _IMAGES // 2), batch)
    least = _SMALL * float(torch.stack([gradient.norm() for gradient in whole.values()]).norm())
    for name, gradient in whole.items():
        off, size = float((parts[name] - gradient).norm()), float(gradient.norm())
        if not off <= _ROUNDING * size + least:
            return f"a layer computes with several images of a batch: the gradient of {name} becomes another one"
    return ""


def forget_failed_try(device: torch.device) -> None:
    """Returns the memory of what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _generators(device: torch.device) -> list[Tensor]:
    """The states of torch's global generators."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _gradients(model: nn.Module, loss: Loss, batch: Batch) -> dict[str, Tensor]:
    """Of every weight that has one, by name."""
    loss(batch).backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return found
