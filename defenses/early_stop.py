"""Early stopping without clean data: the victim trains for a fixed, small number of epochs.

Networks fit a poison faster than the images, but their accuracy on clean images peaks in between, early in the
training. Who has no clean images cannot see the peak. The rule here looks at nothing: the number of epochs is given,
and the whole schedule of the learning rate is run through in it. Stopping a long training in its first epochs measures
the noise of a large learning rate instead. The oracle, which takes the best epoch on test images, is no defense.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.api import Recipe
from bench.registry import defenses


@defenses.register("early-stop", source="folklore", deterministic=True)
@dataclass(frozen=True)
class EarlyStop:
    """Train for a few epochs only, by the whole schedule of the learning rate. Its cost is negative: it saves time.

    Clean accuracy falls with the length, and nobody can tell the right length without clean images.

    Attributes:
        epochs: of the victim's training; the same for every attack. Never more than the victim's own.
    """

    epochs: int = 5

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"early-stop: epochs must be at least 1, got {self.epochs}")

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe, shortened; milestones and warm-up keep their share of it."""
        return recipe.lasting(min(self.epochs, recipe.epochs))
