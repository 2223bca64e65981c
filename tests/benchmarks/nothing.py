"""A plug-in that does nothing: an attack and a defense that pass images on, and a victim that barely trains.

With `copies` they return equal images instead of their input, so that every stage stores an artifact of full size.
"""

from dataclasses import dataclass, replace

from torch import nn

from bench.api import Budget, Context, DataInfo, ImageSet, Recipe
from bench.registry import attacks, defenses, victims


@dataclass(frozen=True)
class _Nothing:
    """Attributes: tag: tells one from another. copies: return equal images."""

    tag: int = 0
    copies: bool = False

    def _given_back(self, train: ImageSet) -> ImageSet:
        return replace(train, images=train.images.clone()) if self.copies else train


@attacks.register("nothing", deterministic=True)
@dataclass(frozen=True)
class NoChange(_Nothing):
    """Changes nothing."""

    @property
    def budget(self) -> Budget:
        return Budget("linf", 0)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        return self._given_back(train)


@defenses.register("nothing", deterministic=True)
@dataclass(frozen=True)
class NoPurification(_Nothing):
    """Changes nothing."""

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        return self._given_back(train)


@victims.register("nothing")
@dataclass(frozen=True)
class NoTraining:
    """A linear model of the mean color, one epoch in one step."""

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=1, batch_size=100_000, crop_padding=0, flip=False)

    def build(self, info: DataInfo) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(info.shape[0], info.num_classes))
