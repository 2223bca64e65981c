"""Clean images mixed into the poisoned training set: no purification, more data.

The baseline of who has some clean images of the same classes. BridgePure's authors (NeurIPS 2025, arXiv:2412.21061,
table 6) add 500 or 4,000 of them to 40,000 poisoned images of CIFAR-10.

The clean images are no originals of poisoned ones and no test images: the data set keeps them from the attack
(`cifar10:train=40000:clean=4000`). The victim takes as many epochs as without them, over a longer set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.api import Recipe
from bench.registry import defenses


@defenses.register("clean-mix", source="arXiv:2412.21061", deterministic=True, uses=("clean-data",))
@dataclass(frozen=True)
class CleanMix:
    """Add clean images to the training set of the victim.

    Costs the training on them, and nothing before. On the embedded data set 100 clean images (5 %) leave most of an EM
    poison's effect.

    The data set must keep as many images from attacks: `--dataset cifar10:train=40000:clean=4000`.

    Attributes:
        images: how many clean images, each class by its share; 500 and 4,000 in BridgePure's table 6.
    """

    images: int

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"clean-mix: images must be at least 1, got {self.images}; `none` adds no image")

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with clean images added to its training set."""
        return replace(recipe, clean_images=self.images)
