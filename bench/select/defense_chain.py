"""Defenses that are applied one after the other, as in `iss-gray+jpeg:quality=30`.

Each purifies what the one before it made, with the random numbers it has alone; all together are one purification, and
its cost is theirs. The views of test images are composed in the same order. Only the last may act while the victim
trains, because a training has one loss and one recipe.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from bench.api import (
    ChangesRecipe,
    ChecksFit,
    Context,
    Differentiable,
    ImageSet,
    KnowsStep,
    Purifies,
    Recipe,
    SeesTestImages,
    TrainsDifferently,
)
from bench.api.part_context import part_of_chain, pass_on

Parts = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class DefenseChain:
    """Several defenses; `chain_of_defenses` makes one with the faces of its parts.

    Attributes:
        parts: name and component of each, in the order in which they are applied.
    """

    parts: Parts

    def __post_init__(self) -> None:
        # A stage constructs a chain anew, and with it its parts: no state of theirs is left.
        object.__setattr__(self, "parts", tuple((name, replace(part)) for name, part in self.parts))

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError or ValueError if a part could not work on these images."""
        for _, part in self.parts:
            if isinstance(part, ChecksFit):
                part.check_fit(train)

    @property
    def last(self) -> Any:
        """The part that may act while the victim trains."""
        return self.parts[-1][1]


class _Purifying(DefenseChain):
    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The images after every part that purifies."""
        images = train
        for name, part in self.parts:
            if isinstance(part, Purifies):
                own = part_of_chain(name, ctx)
                images = part.purify(images, own)
                pass_on(name, own, ctx)
        return images


class _WithGradients(DefenseChain):
    def differentiable(self, images_01: Tensor) -> Tensor:
        """The images after the differentiable version of every part."""
        for _, part in self.parts:
            images_01 = part.differentiable(images_01)
        return images_01


class _Viewing(DefenseChain):
    def view(self, images_u8: Tensor) -> Tensor:
        """The test images after every part that changes their view."""
        for _, part in self.parts:
            if _views(part):
                images_u8 = part.view(images_u8)
        return images_u8


class _Training(DefenseChain):
    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """That of the last part."""
        loss: Tensor = self.last.batch_loss(model, images_01, labels, ctx)
        return loss


class _KnowingItsStep(DefenseChain):
    @property
    def step_passes(self) -> float:
        """Those of the last part."""
        passes: float = self.last.step_passes
        return passes


class _ChangingTheRecipe(DefenseChain):
    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe as the last part changes it."""
        changed: Recipe = self.last.change_recipe(recipe)
        return changed


def chain_of_defenses(parts: Parts) -> DefenseChain:
    """A chain that has exactly the faces of its parts.

    Raises:
        ValueError: for `none`, for a repeated name, and for a defense that acts while the victim trains and is
            not the last.
    """
    names = [name for name, _ in parts]
    if "none" in names:
        raise ValueError("none changes nothing and is no part of a chain; leave it out")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"names {repeated[0]} twice; each defense of a chain is named once")
    for name, part in parts[:-1]:
        if isinstance(part, TrainsDifferently | ChangesRecipe):
            raise ValueError(f"{name} acts while the victim trains, so only the last part of a chain can be {name}")
    last = parts[-1][1]
    faces: dict[type[DefenseChain], bool] = {
        _Purifying: any(isinstance(part, Purifies) for _, part in parts),
        _WithGradients: all(isinstance(part, Differentiable) for _, part in parts),
        _Viewing: any(_views(part) for _, part in parts),
        _Training: isinstance(last, TrainsDifferently),
        _KnowingItsStep: isinstance(last, TrainsDifferently) and isinstance(last, KnowsStep),
        _ChangingTheRecipe: isinstance(last, ChangesRecipe),
    }
    # The faces are found by isinstance, so that a chain with other faces is of another class.
    bases = tuple(face for face, there in faces.items() if there)
    chain: DefenseChain = type("DefenseChain", bases, {})(parts)
    return chain


def _views(part: Any) -> bool:
    """True if a part changes the view of the test images."""
    return isinstance(part, SeesTestImages) and bool(getattr(part, "test_view", True))
