"""D-VAE whose caps are chosen on the poisoned set: an answer to what its paper (arXiv:2405.01460) leaves open.

The caps trade left-over poison against blur, and the paper fixes them by data set. Here both are loosened together,
step by step, as long as a small network that learns the purified images stays as good on images that it has not seen
(`defenses.dvae.judge`). The method is ours. How its rule was chosen, and where it fails, is in docs/measurements.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from math import inf

from torch import Tensor

from bench.api import STEP_PASSES, Context, DataInfo, ImageSet, Work
from bench.registry import defenses
from defenses.dvae.judge import Judge, Judgement, judge_recipe
from defenses.dvae.network import DisentanglingVae
from defenses.dvae.purify import Dvae


@dataclass(frozen=True)
class _Candidate:
    """A set purified with scaled caps, by these networks; the context has what was logged and kept."""

    scale: float
    images: ImageSet
    ctx: Context
    networks: list[DisentanglingVae] = field(default_factory=list)


@defenses.register("dvae-auto", source="ours")
@dataclass(frozen=True)
class DvaeAuto(Dvae):
    """D-VAE with caps that the poisoned training set chooses; one rule for all attacks, no clean image, no test image.

    Both caps of `dvae` are multiplied by the scales in turn, from the tightest on. For each, a small network learns
    half of the purified images and is tried on the other half in two views: as it was given, and as the tightest caps
    leave it. The score is the harmonic mean of the two accuracies. Looser caps are adopted as long as the score does
    not fall by more than `tolerance` below the best one so far; at the first fall the search stops. A poison that
    comes back is learned in place of the images, which costs accuracy on the tightest view; caps that blur too much
    cost accuracy on the images as given. The last scale, `inf`, is no cap: the images stay as they are.

    Costs as many times `dvae` as there are finite scales, or fewer where the search stops, and the small networks.
    Everything is charged. Use `dvae` where its caps are known to suit, and `scales=0.5/1/2/4` where images must not
    stay as they are: on few images the small network may not learn a poison that is slow to learn, such as AR.

    Logs what `dvae` logs, for the chosen caps, and `chosen_scale`, `chosen_stage1_cap`, `chosen_stage2_cap`; for the
    scales in the order in which they were tried: `tried_scales`, `judged_given` and `judged_tightest`.

    Attributes:
        scales: factors of `stage1_cap` and `stage2_cap`, ascending, separated by slashes; the last one may be `inf`.
        tolerance: the accuracy, in 0..1, by which a looser candidate's score may fall.
        judge_epochs: of each training of the small network, on half of the images.
    """

    scales: str = "0.5/1/2/4/inf"
    tolerance: float = 0.02
    judge_epochs: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        factors = self._factors
        ascending = all(before < after for before, after in pairwise((0.0, *factors)))
        if not (factors and ascending and factors[0] < inf):
            raise ValueError(
                f"scales={self.scales!r}: write ascending numbers > 0, separated by slashes: 0.5/1/2/4; "
                "the last one may be inf"
            )
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance must be in 0..1, got {self.tolerance}")
        _ = [self._scaled(factor) for factor in factors if factor < inf]  # checks the caps
        judge_recipe(self.judge_epochs)  # checks the epochs

    @property
    def _factors(self) -> tuple[float, ...]:
        try:
            return tuple(float(word) for word in self.scales.split("/"))
        except ValueError:
            return ()

    def _scaled(self, factor: float) -> Dvae:
        """D-VAE with both caps times the factor, and everything else as here."""
        own = {field.name: getattr(self, field.name) for field in fields(Dvae)}
        return Dvae(**own | {"stage1_cap": factor * self.stage1_cap, "stage2_cap": factor * self.stage2_cap})

    def check_fit(self, train: ImageSet) -> None:
        """Raises ValueError if the network cannot take images of this size, or if there is no half to hold out."""
        super().check_fit(train)
        if len(train) < 2:
            raise ValueError(f"dvae-auto holds out half of the images to judge the caps, and there is {len(train)}")

    def work(self, info: DataInfo, images: int) -> Work:
        """All scales, as if the search never stopped; a pass of the small network counts like one of D-VAE."""
        once = super().work(info, images)
        judging = self.judge_epochs * STEP_PASSES / 2 + 1  # half of the images learned, half of them seen twice
        finite = sum(factor < inf for factor in self._factors)
        return replace(once, passes=finite * once.passes + len(self._factors) * judging)

    def fit_differentiable(self, train: ImageSet, ctx: Context) -> Callable[[Tensor, Tensor], Tensor]:
        """The stages with the caps that the search chooses on this set; no change where it chooses no purification."""
        return self._see_through(self._purify(train, ctx)[1], replace(ctx, scope="dvae", logs={}, kept={}))

    def _purify(self, train: ImageSet, ctx: Context) -> tuple[ImageSet, list[DisentanglingVae]]:
        """The set purified with the chosen caps, and the networks; none if no purification was chosen."""
        tried: dict[float, Judgement] = {}
        chosen, judge = None, None
        for factor in self._factors:
            candidate = self._purified(factor, train, ctx)
            judge = judge or Judge(train, candidate.images, self.judge_epochs)
            tried[factor] = judge.judge(candidate.images, replace(ctx, scope=f"{ctx.scope}-judge"))
            if tried[factor].score < max(judgement.score for judgement in tried.values()) - self.tolerance:
                break
            chosen = candidate
        assert chosen is not None  # the tightest is the best one so far
        ctx.logs.update(chosen.ctx.logs)
        ctx.kept.update(chosen.ctx.kept)
        ctx.log("tried_scales", "/".join(f"{factor:g}" for factor in tried))
        ctx.log("judged_given", [judgement.given for judgement in tried.values()])
        ctx.log("judged_tightest", [judgement.plain for judgement in tried.values()])
        ctx.log("chosen_scale", chosen.scale)
        ctx.log("chosen_stage1_cap", chosen.scale * self.stage1_cap)
        ctx.log("chosen_stage2_cap", chosen.scale * self.stage2_cap)
        return chosen.images, chosen.networks

    def _purified(self, factor: float, train: ImageSet, ctx: Context) -> _Candidate:
        """Runs `dvae` with these caps, with its own seeds."""
        own = replace(ctx, scope="dvae", logs={}, kept={})
        if factor == inf:
            return _Candidate(factor, train, own)
        images, networks = self._scaled(factor)._purify(train, own)
        return _Candidate(factor, images, own, networks)
