"""Work that a component says it does, in passes through its network: the basis of an estimate before it ever ran.

Passes are forward passes of one image: a gradient with respect to the image counts 2, a training step 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import nn

if TYPE_CHECKING:
    from bench.api import DataInfo

GRADIENT_PASSES, STEP_PASSES = 2, 3


@dataclass(frozen=True)
class Work:
    """Work of `poison` or `purify` per image; by default no network sees it, which is short.

    Attributes:
        network: makes the network, untrained: float images (B, C, H, W) to a tensor or several.
        passes: through it, for each image.
    """

    network: Callable[[], nn.Module] | None = None
    passes: float = 0.0


@runtime_checkable
class KnowsWork(Protocol):
    """Optional face of attacks and defenses: `bench plan` estimates their time where none was measured."""

    def work(self, info: DataInfo, images: int) -> Work | None:
        """For a set of so many images; None if that cannot be told before."""
        ...


@runtime_checkable
class KnowsStep(Protocol):
    """Optional face of a defense with `batch_loss`: what a training step costs."""

    @property
    def step_passes(self) -> float:
        """Passes for each image of a batch, the victim's own gradient counted in: 3 for plain training."""
        ...


def no_network(component: object, info: DataInfo, images: int) -> Work:
    """The `work` of a component that sends no image through a network: `work = no_network` in its class."""
    return Work()
