"""Adaptive attacks: a poison that is crafted with knowledge of the defense.

The surrogate of an attack (EM, REM, TAP, HYPO, SEP) looks at its images through a differentiable version of a defense,
while it is trained and while the noise is found. So the noise is optimized for what the defense leaves of it. Nothing
else of the attack changes, and its random draws are those it has alone.

Deviation from what a defender does, who purifies before any crop or flip: an attack that moves its images (REM, TAP)
moves them before its surrogate looks through the defense.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from bench.api import Budget, Context, DataInfo, Differentiable, ImageSet, PartialPoison, Work
from bench.registry import attacks, defenses
from bench.training.surrogates import SurrogateAttack


@attacks.register("adaptive", source="ours")
@dataclass(frozen=True)
class Adaptive(PartialPoison):
    """Another attack, crafted with knowledge of a defense: what the defense is worth if the attacker knows it.

    Costs what the attack costs, and the defense at every pass of the surrogate. The board never counts it in the mean
    and the worst of the other attacks: it has the column "best known attack".

    Parameters of the two stand in quotes: `adaptive:base="em:eps=16/255":through="jpeg:quality=30"`. Presets set those
    of the attack; those of the defense are its defaults and what is written here.

    Attributes:
        base: an attack that trains a surrogate: em, rem, tap, hypo or sep.
        through: a defense with a differentiable version: iss-gray, iss-jpeg, iss-bdr, jpeg or gaussian-blur.
        craft_on: `all`: with poison_rate < 1 the attack sees all images; or `subset`.
    """

    base: str
    through: str
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    others: ClassVar[dict[str, str]] = {"base": "attacks", "through": "defenses"}
    _base: ClassVar[SurrogateAttack]  # of an instance, set by `with_others`
    _through: ClassVar[Differentiable]

    def with_others(self, base: Any, through: Any) -> Adaptive:
        """The attack with the components that its parameters name.

        Raises:
            ValueError: if one of them cannot do its part.
        """
        if not isinstance(base, SurrogateAttack):
            names = ", ".join(name for name, entry in attacks.items() if issubclass(entry.cls, SurrogateAttack))
            raise ValueError(
                f"base={self.base}: this attack has no surrogate network that can look through a defense while it is "
                f"trained (a SurrogateAttack has one); choices: {names}"
            )
        if not isinstance(through, Differentiable):
            names = ", ".join(name for name, entry in defenses.items() if hasattr(entry.cls, "differentiable"))
            raise ValueError(f"through={self.through}: this defense has no differentiable version; choices: {names}")
        if base.share not in (PartialPoison().share, self.share):
            raise ValueError(
                f"base={self.base}: poison_rate, stratified and classes are parameters of the adaptive attack; write "
                "them behind it, not in its base"
            )
        ready = copy.copy(self)
        object.__setattr__(ready, "_base", replace(base, craft_on=self.craft_on, **self.share))
        object.__setattr__(ready, "_through", through)
        return ready

    @property
    def budget(self) -> Budget:
        """The attack's."""
        return self._base.budget

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError or ValueError if the attack or the defense cannot work on these images."""
        self._base.check_fit(train)
        check = getattr(self._through, "check_fit", None)
        if check is not None:
            check(train)

    def work(self, info: DataInfo, images: int) -> Work | None:
        """The attack's; passes through the defense are not counted."""
        return self._base.work(info, images)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The training set with noise that was found through the defense."""
        name = self.base.partition(":")[0]
        return self._base.poison(train, replace(ctx, scope=name, through=self._through.differentiable))
