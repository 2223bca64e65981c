"""No attack: the clean baseline of every matrix."""

from dataclasses import dataclass

from bench.api import Budget, Context, ImageSet, no_network
from bench.registry import attacks


@attacks.register("none", deterministic=True)
@dataclass(frozen=True)
class NoAttack:
    """The clean training set, unchanged: what a victim reaches without poison (the baseline recovery needs)."""

    @property
    def budget(self) -> Budget:
        return Budget("linf", 0)

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        return train
