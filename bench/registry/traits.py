"""Traits of attacks: what kind of poison one is, in words that also select all attacks of that kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Traits:
    """Kind of an attack with its default parameters.

    Attributes:
        noise: `sample-wise`: each image has its own; `class-wise`: all images of a class are changed alike; `any
            noise`: a parameter decides.
        bounded: a norm bounds what is changed; None: a parameter decides.
        surrogate: the noise is found on a model: trained while crafting, or of a closed form (NTGA); None: a parameter
            decides.
        against: the defense that the attack was designed to survive (`at`), or "" for plain training.
    """

    noise: Literal["sample-wise", "class-wise", "any noise"]
    bounded: bool | None
    surrogate: bool | None
    against: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """In the order noise, bound, surrogate."""
        bound = {True: "bounded", False: "unbounded", None: "any bound"}[self.bounded]
        surrogate = {True: "surrogate", False: "surrogate-free", None: "any surrogate"}[self.surrogate]
        return self.noise, bound, surrogate
