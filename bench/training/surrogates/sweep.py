"""The inner loop of TAP (Fowl et al., 2021, arXiv:2106.10807), HYPO and SEP: a start, and one step for all images."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api import Budget, ImageSet
from bench.training.moves import Moves, shift
from bench.training.pgd import pgd
from bench.training.surrogates.crafting import Passes, chunks, empty_noise, judge, load
from bench.training.surrogates.networks import labeled


@dataclass(frozen=True)
class Sweep:
    """Settings that stay the same over all steps and restarts.

    Attributes:
        surrogate: trained.
        train: clean images with their labels.
        targets: int64 (N,), the classes to move to (`minimize`) or away from (`maximize`).
        direction: of the loss.
        budget: L-inf.
        step_size: of one step.
        fill: (C,) the color that a shift brings in at the border.
        device: where to compute.
        passes: are counted here.
        samples: gradients of a step, which are summed.
    """

    surrogate: nn.Module
    train: ImageSet
    targets: Tensor
    direction: Literal["minimize", "maximize"]
    budget: Budget
    step_size: float
    fill: Tensor
    device: torch.device
    passes: Passes
    samples: int = 1

    def start(self, generator: torch.Generator) -> Tensor:
        """Gaussian noise of deviation eps, clamped to +-eps and so that the images stay in [0, 1]; (N, C, H, W)."""
        eps, delta = self.budget.radius, empty_noise(self.train, self.device)
        for rows in chunks(len(self.train), self.train.info.shape, self.device):
            images, _ = load(self.train, rows, self.device)
            noise = torch.randn(images.shape, generator=generator).mul_(eps).clamp_(-eps, eps)
            delta[rows] = ((images + noise.to(self.device)).clamp(0, 1) - images).to(delta.device)
        return delta

    def step(self, delta: Tensor, moves: Moves | None, measure: bool) -> float:
        """One step on all images, in place.

        Args:
            delta: float32 (N, C, H, W).
            moves: N of them, on the device, or None for none.
            measure: compute the loss, at one more forward pass an image.

        Returns:
            The mean loss of the moved images before the step, as the authors compare restarts; 0 if not measured.
        """
        total = torch.zeros((), device=self.device)
        for rows in chunks(len(self.train), self.train.info.shape, self.device):
            images, labels = load(self.train, rows, self.device)
            targets = self.targets[rows].to(self.device)
            start, part = delta[rows].to(self.device), None if moves is None else moves[rows]

            def move(noisy: Tensor, part: Moves | None = part) -> Tensor:
                return noisy if part is None else shift(noisy, part, self.fill)

            with labeled(self.surrogate, labels):
                if measure:
                    total += judge(self.surrogate, move(images + start), targets)[0]
                    self.passes.forward += len(images)
                delta[rows] = pgd(
                    self.surrogate,
                    images,
                    targets,
                    direction=self.direction,
                    budget=self.budget,
                    step_size=self.step_size,
                    steps=1,
                    start=start,
                    samples=self.samples,
                    transform=move,
                ).to(delta.device)
            self.passes.gradient += self.samples * len(images)
        return float(total) / len(self.train) if measure else 0.0
