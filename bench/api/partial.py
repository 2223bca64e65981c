"""Part of the training set that an attack poisons: classes, and a share of their images."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


@dataclass(frozen=True, kw_only=True)
class PartialPoison:
    """Base of attacks that can poison a part of the set; the harness draws the part and restores the rest.

    Attributes:
        poison_rate: share of the images (with `classes`, of the images of these) that is poisoned, in (0, 1]:
            floor(rate * N) images.
        craft_on: what the attack sees: `subset` (only the images to be poisoned) or `all`.
        stratified: draw the same share of every class.
        classes: class numbers and ranges of them, separated by slashes (`0-4`, `3`, `0-2/7`): only their images are
            poisoned; empty for all classes.
    """

    poison_rate: float = 1.0
    craft_on: Literal["subset", "all"] = "subset"
    stratified: bool = False
    classes: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.poison_rate <= 1:
            raise ValueError(f"poison_rate must be in (0, 1], got {self.poison_rate}")
        # One text for one choice of classes, so that `4/0-3` and `0-4` have the same key.
        object.__setattr__(self, "classes", _written(_parsed(self.classes)))

    def chosen_classes(self, num_classes: int) -> list[int]:
        """The numbers of the classes that are poisoned, ascending.

        Raises:
            ValueError: if one of them does not exist.
        """
        if not self.classes:
            return list(range(num_classes))
        chosen = _parsed(self.classes)
        if chosen[-1] >= num_classes:
            raise ValueError(
                f"classes={self.classes}: there is no class {chosen[-1]}; choose from 0..{num_classes - 1}"
            )
        return chosen

    def rows_of(self, labels: Tensor, num_classes: int) -> Tensor:
        """Positions of the images whose class is poisoned, int64, ascending; labels are int64 (N,)."""
        return torch.isin(labels, torch.tensor(self.chosen_classes(num_classes))).nonzero().flatten()

    @property
    def share(self) -> dict[str, float | bool | str]:
        """Parameters that decide which images are poisoned."""
        return {"poison_rate": self.poison_rate, "stratified": self.stratified, "classes": self.classes}


def _parsed(text: str) -> list[int]:
    chosen: set[int] = set()
    for piece in text.split("/") if text else ():
        match = _RANGE.fullmatch(piece.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"classes={text!r}: write class numbers and ranges, separated by slashes: 0-4, 3, 0-2/7")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(chosen)


def _written(chosen: Iterable[int]) -> str:
    """The shortest text: neighbors as a range."""
    runs: list[list[int]] = []
    for number in chosen:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "/".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
