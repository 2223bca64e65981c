"""Traits of attacks: what kind of poison one is, in words that also select all attacks of that kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Traits:
    """Kind of an attack with its default parameters.

    Attributes:
        noise: `sample-wise`: each image has its own; `class-wise`: all images of a class are changed alike.
        bounded: a norm bounds what is changed.
        surrogate: a model is trained while crafting.
        against: the defense that the attack was designed to survive (`at`), or "" for plain training.
    """

    noise: Literal["sample-wise", "class-wise"]
    bounded: bool
    surrogate: bool
    against: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """In the order noise, bound, surrogate."""
        bound = "bounded" if self.bounded else "unbounded"
        return self.noise, bound, "surrogate" if self.surrogate else "surrogate-free"
