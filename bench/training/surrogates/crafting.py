"""Parts of attacks that train a surrogate: checks, limits, chunks and the report."""

import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import Context, ImageSet
from bench.errors import MachineError, UserError
from bench.training.evaluate import TrainingDivergedError, accuracy
from bench.training.numbers import autocast, to_float
from bench.training.surrogates.networks import labeled

# Entries of a chunk: a CPU's caches hold no more than 64 images with their activations, and a GPU wants thousands.
_ENTRIES_AT_ONCE = {"cuda": 2048 * 3072, "cpu": 64 * 3072}


@dataclass
class Passes:
    """Counts images through the surrogate, and says when a limit is reached.

    Attributes:
        max_passes: of all three kinds together, or None.
        max_seconds: since this object was made, without `left_out`, or None.
        forward: images that went forward only.
        gradient: forward and back to the image.
        training: forward and back to the weights.
        left_out: seconds of rehearsals.
    """

    max_passes: int | None = None
    max_seconds: float | None = None
    forward: int = 0
    gradient: int = 0
    training: int = 0
    left_out: float = 0.0
    _start: float = field(default_factory=time.perf_counter)

    def spent(self, reserve: int = 0) -> bool:
        """True if a limit is reached, keeping `reserve` passes for later."""
        used = self.forward + self.gradient + self.training + reserve
        seconds = time.perf_counter() - self._start - self.left_out
        over_time = self.max_seconds is not None and seconds >= self.max_seconds
        return over_time or (self.max_passes is not None and used >= self.max_passes)

    def log(self, ctx: Context, converged: bool) -> None:
        """Records the counts, and whether the method ended by itself."""
        ctx.log("passes_forward", self.forward)
        ctx.log("passes_gradient", self.gradient)
        ctx.log("passes_training", self.training)
        ctx.log("converged", converged)


def check_eps(eps: float) -> None:
    """Raises ValueError unless `eps` is an L-inf radius of at least one level."""
    if not (math.isfinite(eps) and 1 / 255 - 1e-6 <= eps < 1):
        raise ValueError(
            f"eps is an L-inf radius on the [0, 1] scale, at least 1/255 and below 1, got {eps:g}; write eps=8/255. "
            "L2 budgets are not supported here: lsp and ar take them"
        )


def check_positive(**values: float | None) -> None:
    """Raises ValueError for a value that is neither None nor a finite number > 0."""
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number > 0, got {value}")


def check_batch_size(batch_size: int) -> None:
    """Raises ValueError for batches of one image, which have no batch statistics."""
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2 images, got {batch_size}")


def check_classes(train: ImageSet) -> None:
    """Raises UserError unless the images are of two classes or more: nothing can be crafted from one."""
    present = len(torch.unique(train.labels))
    if present < 2:
        raise UserError(
            f"crafting needs images of at least 2 classes, got {len(train)} images of {present}; "
            "choose a larger part of the set, or craft_on=all"
        )


def check_finite(value: float, where: str, remedy: str) -> None:
    """Raises TrainingDivergedError for a loss that is NaN or infinite."""
    if not math.isfinite(value):
        raise TrainingDivergedError(f"the surrogate's loss became {value} {where}; {remedy}")


def at_once(images: Tensor) -> int:
    """Number of images of this size that a GPU wants in one pass: 2,048 of 32x32; 1 on a CPU, which gains nothing."""
    return max(1, _ENTRIES_AT_ONCE["cuda"] // math.prod(images.shape[1:])) if images.is_cuda else 1


def chunks(count: int, shape: tuple[int, int, int], device: torch.device) -> Iterator[slice]:
    """Positions 0..count in pieces that suit the device: 2,048 images of 32x32 on a GPU, 64 on a CPU."""
    size = max(1, _ENTRIES_AT_ONCE["cuda" if device.type == "cuda" else "cpu"] // math.prod(shape))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def load(train: ImageSet, rows: slice, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and labels of these positions, on the device."""
    return to_float(train.images[rows].to(device)), train.labels[rows].to(device)


def empty_noise(train: ImageSet, device: torch.device) -> Tensor:
    """Zeros, float32 (N, C, H, W): on the device if they take at most a quarter of its free memory, else on the CPU."""
    if device.type == "cuda" and 4 * train.images.numel() > torch.cuda.mem_get_info(device)[0] / 4:
        device = torch.device("cpu")
    return torch.empty(train.images.shape, device=device, memory_format=torch.channels_last).zero_()


def check_memory(train: ImageSet, copies: int) -> None:
    """Raises MachineError if so many copies of the noise of all images, float32, exceed this machine's memory."""
    if torch.cuda.is_available() and 4 * train.images.numel() <= torch.cuda.mem_get_info()[0] / 4:
        return  # where `empty_noise` puts it
    needed, held = 4 * copies * train.images.numel(), psutil.virtual_memory().total
    if needed > held:
        raise MachineError(
            f"crafting holds {copies} x float32 noise for {len(train):,} images: {needed / 2**30:.1f} GiB of host "
            f"memory, the machine {platform.node()} has {held / 2**30:.1f} GiB; take fewer or smaller images "
            "(imagenet100:train=20000, imagenet100:size=64), or a larger machine"
        )


@torch.no_grad()
def judge(model: nn.Module, images_01: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy and number of images classified as `targets`, on the device; in eval mode, then restored."""
    was_training = model.training
    model.eval()
    with autocast(images_01.device):
        logits = model(images_01).float()
    model.train(was_training)
    return functional.cross_entropy(logits, targets, reduction="sum"), (logits.argmax(1) == targets).sum()


def report(surrogate: nn.Module, train: ImageSet, poisoned: ImageSet, ctx: Context) -> None:
    """Records the final surrogate's accuracy on clean and on poisoned images."""
    with labeled(surrogate, train.labels):
        ctx.log("surrogate_clean_accuracy", accuracy(surrogate, train, ctx.device))
        ctx.log("surrogate_poison_accuracy", accuracy(surrogate, poisoned, ctx.device))
