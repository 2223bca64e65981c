"""Attacks that are applied one after the other, as in `em+ops`: the CIFAR-10-S of the one-pixel paper.

Every part is crafted from the clean images with the seeds it has when it is run alone. A later part goes onto the
images of the earlier ones by its own rule (`StacksOn`) or by adding what it adds to the clean images.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from bench.api import PartialPoison
from bench.api.budget import Budget, BudgetSum, total_budget


@dataclass(frozen=True)
class Chain:
    """Several attacks on the same images.

    Attributes:
        parts: name and component of each, in the order in which they are applied.
    """

    parts: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.parts]
        if "none" in names:
            raise ValueError("none is the clean training set and no part of a chain; leave it out")
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"names {repeated[0]} twice; the same attack again has the same seeds: raise its budget")
        shares = {name: part_of(component).share for name, component in self.parts}
        first = shares[names[0]]
        for name in names[1:]:
            for parameter, value in shares[name].items():
                if value != first[parameter]:
                    raise ValueError(
                        f"all parts poison the same images, but {parameter} is {first[parameter]!r} for {names[0]} and "
                        f"{value!r} for {name}; give each the same poison_rate, stratified and classes"
                    )

    @property
    def budget(self) -> Budget | BudgetSum:
        """Sum of the budgets of all parts."""
        return total_budget(component.budget for _, component in self.parts)


def part_of(attack: Any) -> PartialPoison:
    """Images that an attack poisons; all, if it does not say."""
    if isinstance(attack, Chain):
        attack = attack.parts[0][1]
    return attack if isinstance(attack, PartialPoison) else PartialPoison()
