"""Shift of color by class: our closed-form variant of the color branch of DUNE (ICML 2026, arXiv:2605.01718).

DUNE learns what it adds; here one offset a class is drawn. It is declared as ours: no paper prints its values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Budget, Context, DataInfo, ImageSet, PartialPoison, no_network, perturb
from bench.errors import UserError
from bench.registry import attacks

_CANDIDATES = 256


@attacks.register("class-color", source="ours, after arXiv:2605.01718")
@dataclass(frozen=True)
class ClassColor(PartialPoison):
    """One shift of color for all images of a class, constant over the image: JPEG keeps it.

    Needs only labels, and no surrogate. Gray leaves about half of its energy, as a shift of brightness: over 20 seeds
    with ten classes 47 % on average, 38 to 61 %.

    Attributes:
        amplitude: largest shift of a channel, on the [0, 1] scale.
    """

    amplitude: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 / 255 - 1e-6 <= self.amplitude < 1:
            raise ValueError(f"class-color: amplitude must be at least 1/255 and below 1, got {self.amplitude:g}")

    @property
    def budget(self) -> Budget:
        """The L-inf ball of radius amplitude."""
        return Budget("linf", self.amplitude)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if there are more classes than colors of whole levels."""
        colors = (2 * self.budget.levels + 1) ** train.info.shape[0]
        if train.info.num_classes > colors:
            raise UserError(
                f"class-color: {train.info.num_classes} classes do not fit on {colors} colors; raise amplitude"
            )

    work = no_network

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        self.check_fit(train)
        shifts = self._shifts(train.info, ctx.generator("colors"))[..., None, None]
        with ctx.phase("perturb"):
            return perturb(
                train,
                lambda rows: shifts[train.labels[rows]].expand(-1, -1, *train.info.shape[1:]),
                ctx,
                linf=self.amplitude,
            )

    def _shifts(self, info: DataInfo, generator: torch.Generator) -> Tensor:
        """Whole levels, on the [0, 1] scale: float32 (K, C). Each is the farthest of many draws from those before."""
        levels = self.budget.levels
        shape = _CANDIDATES, info.shape[0]
        found = torch.empty(0, info.shape[0])
        while len(found) < info.num_classes:
            drawn = torch.randint(-levels, levels + 1, shape, generator=generator).float()
            distance = torch.cdist(drawn, found).amin(1) if len(found) else drawn.norm(dim=1)
            if distance.max() > 0:
                found = torch.cat([found, drawn[distance.argmax()][None]])
        return found / 255
