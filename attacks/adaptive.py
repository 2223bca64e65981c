"""Adaptive attacks: a poison that is crafted with knowledge of the defense.

The surrogate of an attack (EM, REM, TAP, HYPO, SEP) looks at its images through a differentiable version of a defense,
while it is trained and while the noise is found. So the noise is optimized for what the defense leaves of it. Nothing
else of the attack changes, and its random draws are those it has alone.

A defense that is trained on the poison it meets (D-VAE) has no such version before there is a poison. The attacker
trains it as the defender would, on a first version of the poisoned set, which the same attack makes without knowledge
of the defense. Then its weights stay fixed, and the attack begins anew and looks through it. D-VAE needs the labels: an
image's own, whatever class the attack moves it to. With `poison_rate` < 1 and `craft_on=all` all images of the first
version are poisoned, while the defender meets a part.

Deviation from what a defender does, who purifies before any crop or flip: an attack that moves its images (REM, TAP)
moves them before its surrogate looks through the defense.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from bench.api import (
    Budget,
    Context,
    DataInfo,
    Differentiable,
    ImageSet,
    PartialPoison,
    TrainedDifferentiable,
    Work,
    part_of_chain,
    pass_on,
)
from bench.errors import ContractError
from bench.registry import attacks, defenses
from bench.training.surrogates import SurrogateAttack


@attacks.register("adaptive", source="ours")
@dataclass(frozen=True)
class Adaptive(PartialPoison):
    """Another attack, crafted with knowledge of a defense: what the defense is worth if the attacker knows it.

    Costs what the attack costs, and the defense at every pass of the surrogate; through a defense that is trained, the
    attack twice and the defense's training once, all of it as the attack's. The board never counts it in the mean
    and the worst of the other attacks: it has the column "best known attack".

    Parameters of the two stand in quotes: `adaptive:base="em:eps=16/255":through="jpeg:quality=30"`. Presets set those
    of both.

    Attributes:
        base: an attack that trains a surrogate: em, rem, tap, hypo or sep.
        through: a defense with a differentiable version: iss-gray, iss-jpeg, iss-bdr, jpeg, gaussian-blur, low-pass,
            median, bilateral, or a chain of these in quotes; or one that is trained first: dvae or dvae-auto.
        craft_on: `all`: with poison_rate < 1 the attack sees all images; or `subset`.
    """

    base: str
    through: str
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    others: ClassVar[dict[str, str]] = {"base": "attacks", "through": "defenses"}
    _base: ClassVar[SurrogateAttack]  # of an instance, set by `with_others`
    _through: ClassVar[Differentiable | TrainedDifferentiable]

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
        if not isinstance(through, Differentiable | TrainedDifferentiable):
            faces = ("differentiable", "fit_differentiable")
            names = ", ".join(n for n, entry in defenses.items() if any(hasattr(entry.cls, face) for face in faces))
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
        """The attack's, twice through a defense that is trained; training it and passes through it are not counted."""
        once = self._base.work(info, images)
        if once is None or isinstance(self._through, Differentiable):
            return once
        return replace(once, passes=2 * once.passes)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The training set with noise that was found through the defense."""
        return self._base.poison(train, replace(ctx, scope=_name(self.base), through=self._seen(train, ctx)))

    def _seen(self, train: ImageSet, ctx: Context) -> Callable[[Tensor, Tensor | None], Tensor]:
        """The surrogate's view: images and their labels to images."""
        if isinstance(self._through, Differentiable):
            fixed = self._through.differentiable
            return lambda images_01, labels: fixed(images_01)
        oblivious = self._base.poison(train, part_of_chain(_name(self.base), ctx))
        own = part_of_chain(_name(self.through), ctx)
        trained = self._through.fit_differentiable(oblivious, own)
        own.kept.clear()  # about the first version, which nobody gets
        pass_on(_name(self.through), own, ctx)

        def see(images_01: Tensor, labels: Tensor | None) -> Tensor:
            if labels is None:
                raise ContractError(
                    f"through={self.through} needs the labels of the images, and {self.base} passes images through its "
                    "surrogate without them; do so inside `bench.training.surrogates.labeled`"
                )
            return trained(images_01, labels)

        return see


def _name(selection: str) -> str:
    """The registered name in a selection."""
    return selection.partition(":")[0]
