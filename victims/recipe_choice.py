"""The parameters all victims share: a stored recipe and changes to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bench.api import Recipe
from victims.recipes import RecipeName, recipe_for


@dataclass(frozen=True, kw_only=True)
class RecipeChoice:
    """A stored recipe (`preset`) and what to change in it; None keeps the recipe's value.

    Attributes:
        preset: `paper` (60 epochs), `paper-100` and `paper-30` (as many epochs, transformers as in `paper`), `fast`,
            `cpu` or `demo`.
        optimizer: with which the stored recipe trains; None is the network's own, `adamw` for transformers. `sgd` gives
            them the convolutional networks' recipe, as the D-VAE authors do.
        epochs: passes over the training set.
        batch_size: images per step.
        lr: peak learning rate.
        weight_decay: on every parameter.
        crop_padding: zero padding of the random crop, in pixels; 0 switches it off.
        random_resized_crop: boxes of 8 to 100 % of the image, resized to its size, instead of the padded crop.
        flip: horizontal flip with probability 0.5.
    """

    preset: RecipeName = "paper"
    optimizer: Literal["sgd", "adamw"] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    crop_padding: int | None = None
    random_resized_crop: bool | None = None
    flip: bool | None = None

    def __post_init__(self) -> None:
        self.choose("resnet18")

    def choose(self, model: str) -> Recipe:
        """The recipe for a model's name with the changes; ValueError if they are out of range."""
        names = ("epochs", "batch_size", "lr", "weight_decay", "crop_padding", "random_resized_crop", "flip")
        changes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.random_resized_crop:  # one kind of crop takes the place of the stored recipe's other kind
            changes.setdefault("crop_padding", 0)
        elif self.crop_padding:
            changes.setdefault("random_resized_crop", False)
        stored = recipe_for(model, self.preset, self.optimizer)
        warmup = min(stored.warmup_epochs, 0.2 * changes.get("epochs", stored.epochs))
        return replace(stored, **changes, warmup_epochs=warmup)
