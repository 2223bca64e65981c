"""The three protocols, and the optional faces of attacks, defenses and victims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from bench.api.budget import Budget
from bench.api.context import Context
from bench.api.images import DataInfo, ImageSet
from bench.api.recipe import Recipe


class Attack(Protocol):
    """Crafts a poison from a clean training set. A frozen dataclass: its fields are its parameters."""

    @property
    def budget(self) -> Budget:
        """Bound that the poison promises to respect; the harness measures it on the uint8 result."""
        ...

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The poisoned set: same labels, count, order and shape; `train` is not modified."""
        ...


@runtime_checkable
class StacksOn(Protocol):
    """Optional face of an attack: how it goes onto images that another attack poisoned (`em+ops`).

    Without it, what the attack adds to the clean images is added to the poisoned ones, and clipped.
    """

    def poison_onto(self, clean: ImageSet, poisoned: ImageSet, ctx: Context) -> ImageSet:
        """`poisoned`, changed by at most the budget; what is written is found on `clean`. Neither is modified."""
        ...


@runtime_checkable
class ChecksFit(Protocol):
    """Optional face of components: whether they can work on a training set is checked before any work.

    Of attacks, defenses, and victims with `fit`.
    """

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError or ValueError, saying what to do, if its method could not work on these images.

        MachineError, if they could on a machine with more memory: jobs of an attack on another machine ask there again.
        An attack sees its own clean images. Defenses and victims see black images of the same number, size and labels:
        no clock runs yet.
        """
        ...


@runtime_checkable
class HoldsPart(Protocol):
    """Optional face of a `PartialPoison`: it can poison only some images (a file that holds a part of the set)."""

    def held_rows(self, train: ImageSet) -> Tensor | None:
        """Positions of the images it can poison, int64, ascending; None for all of them."""
        ...


@runtime_checkable
class Purifies(Protocol):
    """Face of a defense: maps the (possibly poisoned) training set to the one the victim trains on."""

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The purified set: same labels, count, order and shape; returns `train` itself if it changes nothing."""
        ...


@runtime_checkable
class TrainsDifferently(Protocol):
    """Face of a defense: replaces the loss of a batch (adversarial training, mixing).

    A class attribute `replayable = True` declares that the loss does the same operations for all batches of a size: it
    decides nothing by a value or by Python's state, and draws from `ctx.stream` alone. Then a GPU may replay its steps
    from a graph; other losses run as they are.
    """

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """A scalar to minimize; images are float (B, C, H, W), already augmented, on the device.

        It may call the model several times, and must leave train/eval mode and requires_grad as it found them.
        Random numbers come from `ctx.stream(purpose)`: `ctx.generator` starts again at every call, and raises here.
        """
        ...


@runtime_checkable
class ChangesRecipe(Protocol):
    """Face of a defense: the victim is trained longer, shorter or with another schedule than the victim's recipe."""

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe to train with, from the victim's own; the same for every attack and seed."""
        ...


@runtime_checkable
class SeesTestImages(Protocol):
    """Face of a defense: a view of the test images, the same for every image, without labels."""

    def view(self, images_u8: Tensor) -> Tensor:
        """uint8 (N, C, H, W) in, the same out; deterministic and independent of the batch."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """Optional face of a defense that purifies: a version with gradients, for attackers who know the defense.

    The surrogate of the attack `adaptive` looks through it. Where the method has no gradient, the value may be exact
    and the gradient another's (straight-through). The defense itself never uses it.
    """

    def differentiable(self, images_01: Tensor) -> Tensor:
        """Float (B, C, H, W) in [0, 1] in, the same out, on the same device; deterministic, image by image."""
        ...


@runtime_checkable
class TrainedDifferentiable(Protocol):
    """Optional face of a defense that is trained on the set it purifies: a trained version with gradients.

    For attackers who know the defense, as `Differentiable` is. The defense itself never uses it.
    """

    def fit_differentiable(self, train: ImageSet, ctx: Context) -> Callable[[Tensor, Tensor], Tensor]:
        """Trains on this set as `purify` does, with the same draws, and returns what was trained, as a function.

        The function gets float (B, C, H, W) in [0, 1] and int64 labels (B,), and returns images like them. It may draw
        anew at each call, from a generator of `ctx`; its weights stay as they are, and collect no gradient. A closure,
        and no method: networks that hold it are copied.
        """
        ...


@runtime_checkable
class NamesOthers(Protocol):
    """Optional face of an attack whose parameters are selections of other components, as `base=em`.

    The harness resolves them, puts all that decides their results into the key, and hands them over.

    Attributes:
        others: parameter to the kind of its component (`attacks`, `defenses`).
    """

    others: ClassVar[dict[str, str]]

    def with_others(self, **components: Any) -> Any:
        """The attack with these components, by parameter.

        Raises:
            ValueError: if one of them cannot do its part.
        """
        ...


Defense = Purifies | TrainsDifferently | ChangesRecipe | SeesTestImages
"""A defense has at least one of these faces. It never learns the attack, the clean images or the test labels."""


class Victim(Protocol):
    """A network and the recipe it is trained with; a victim that is not trained in steps has `FitsOnce` instead."""

    @property
    def recipe(self) -> Recipe: ...

    def build(self, info: DataInfo) -> nn.Module:
        """Float images in [0, 1] in, logits (B, K) out; any normalization happens inside."""
        ...


@runtime_checkable
class FitsOnce(Protocol):
    """Face of a victim that is not trained in steps, as k nearest neighbors: it has neither `build` nor a recipe.

    A defense that replaces the loss of a batch or changes the recipe has nothing to act on there: the pair is refused
    before any work. Purifications and views of the test images work as with every victim.
    """

    def fit(self, train: ImageSet, ctx: Context) -> nn.Module:
        """A fitted network on `ctx.device`: float images in [0, 1] in, finite logits (B, K) out; no gradients needed.

        Its time is that of the training. The harness calls it before, too, on at most 256 random images, as a rehearsal
        that is not charged. `train` is not modified.
        """
        ...
