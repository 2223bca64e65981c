"""Base of attacks that train a network while they craft noise within an L-inf budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor, nn

from bench.api import Budget, Context, DataInfo, ImageSet, PartialPoison, Rounding, Work, perturb
from bench.training.batches import resident
from bench.training.surrogates.crafting import (
    Passes,
    check_batch_size,
    check_classes,
    check_eps,
    check_memory,
    check_positive,
    report,
)
from bench.training.surrogates.networks import SurrogateName, check_surrogate, surrogate_layers


class Crafted(NamedTuple):
    """Result of crafting.

    Attributes:
        surrogate: as trained last.
        noise: gets positions, in ascending order; returns their noise, float (n, C, H, W) on the [0, 1] scale.
        converged: False if a limit ended the crafting before the method did.
    """

    surrogate: nn.Module
    noise: Callable[[slice], Tensor]
    converged: bool


@dataclass(frozen=True)
class SurrogateAttack(PartialPoison, ABC):
    """Base of attacks that train a surrogate: an attack writes `craft`, and gets checks, limits and a report.

    Logs the passes through the surrogate, `converged`, and the accuracy of the last surrogate on clean and on poisoned
    images (`surrogate_clean_accuracy`, `surrogate_poison_accuracy`).

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
        batch_size: images per training step of the surrogate; a smaller set is one batch.
        lr: of the surrogate's training.
        surrogate: `resnet18`, `resnet18-imagenet` (torchvision's stem, for 224 pixels), or `s-net` (for a CPU).
        max_passes: stop once this many images went through the surrogate; None for no limit.
        max_seconds: stop after about this time; None for no limit. The result then depends on the machine's speed.
        craft_on: `all`: with poison_rate < 1 the attack sees all images; or `subset`.
    """

    eps: float = 8 / 255
    batch_size: int = field(default=128, kw_only=True)
    lr: float = field(default=0.1, kw_only=True)
    surrogate: SurrogateName = field(default="resnet18", kw_only=True)
    max_passes: int | None = field(default=None, kw_only=True)
    max_seconds: float | None = field(default=None, kw_only=True)
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self.eps)
        check_surrogate(self.surrogate)
        check_batch_size(self.batch_size)
        check_positive(lr=self.lr, max_passes=self.max_passes, max_seconds=self.max_seconds)

    @abstractmethod
    def craft(self, train: ImageSet, ctx: Context, passes: Passes) -> Crafted:
        """Trains a surrogate and finds the noise.

        Args:
            train: clean images, on the device if they fit there; of two classes or more.
            ctx: of the stage.
            passes: counts the images that go through the surrogate; `passes.spent()` says when a limit is reached.
        """

    def report(self, crafted: Crafted, train: ImageSet, poisoned: ImageSet, ctx: Context) -> None:
        """Records the last surrogate's accuracy on clean and on poisoned images; an attack may add its own figures."""
        report(crafted.surrogate, train, poisoned, ctx)

    def passes_per_image(self, images: int) -> float | None:
        """Forward passes through the surrogate that a set of this size takes, per image; None if unknown."""
        return None

    @property
    def rounding(self) -> Rounding:
        """From noise to 8 bits; to nearest by default."""
        return "nearest"

    @property
    def noise_copies(self) -> int:
        """Number of float32 copies of the noise of all images that crafting holds."""
        return 1

    @property
    def budget(self) -> Budget:
        """The L-inf ball of radius eps."""
        return Budget("linf", self.eps)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if only one class is crafted from, MachineError if the noise exceeds the memory."""
        seen = train if self.craft_on == "all" else train.take(self.rows_of(train.labels, train.info.num_classes))
        check_classes(seen)
        check_memory(seen, self.noise_copies)

    def work(self, info: DataInfo, images: int) -> Work | None:
        """The passes of `passes_per_image`; None under a limit, which ends the crafting earlier."""
        passes = self.passes_per_image(images)
        if passes is None or self.max_passes or self.max_seconds:
            return None
        return Work(lambda: surrogate_layers(self.surrogate, info), passes)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The training set with the crafted noise."""
        check_classes(train)
        passes = Passes(self.max_passes, self.max_seconds)
        crafted = self.craft(resident(train, ctx.device), ctx, passes)
        with ctx.phase("perturb"):
            poisoned = perturb(train, lambda rows: crafted.noise(rows).cpu(), ctx, self.rounding, linf=self.eps)
        passes.log(ctx, crafted.converged)
        with ctx.phase("report"):
            self.report(crafted, train, poisoned, ctx)
        return poisoned
