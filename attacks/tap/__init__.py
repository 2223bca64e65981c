"""TAP: targeted adversarial poisoning (Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021,
arXiv:2106.10807).

Adversarial examples of a network trained on clean images: an image of class y moves towards class y + 1 and keeps its
label, so that a victim learns the features of one class as another's.

Deviations from the authors' code (`lhfowl/adversarial_poisons`):
- mean and standard deviation are those of the given images; theirs are constants of CIFAR-10;
- with `poison_rate` < 1 the harness restores the other images after crafting, where theirs never crafts them: the
  same images, since each is crafted by itself, at the cost of crafting all, but restarts are compared on all images;
- an incomplete last batch of a single image is left out of the surrogate's training: it has no batch statistics.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import GRADIENT_PASSES, STEP_PASSES, Context, DataInfo, ImageSet, Recipe
from bench.registry import attacks
from bench.training import Batch, Batches, fit, predict
from bench.training.moves import draw_shifts, shift
from bench.training.pgd import step_across
from bench.training.surrogates import (
    Crafted,
    Passes,
    SurrogateAttack,
    Sweep,
    build_surrogate,
    check_finite,
    check_positive,
    labeled,
    labeled_loss,
)

_DECAYS = (2.667, 1.6, 1.142)  # the authors' divisors of the number of epochs


@attacks.register("tap", source="arXiv:2106.10807")
@dataclass(frozen=True)
class Tap(SurrogateAttack):
    """Adversarial examples towards the next class, with their old labels; the strongest against plain training.

    Costs the training of a surrogate and 2,000 gradients per image. Clean test accuracy falls below chance:
    an image of class c is taken for class c - 1. Adversarial training undoes it.

    With `poison_rate` < 1 the surrogate sees all clean images, as in the authors' code; `craft_on=subset` trains it on
    the images to be poisoned alone.

    Logs `surrogate_clean_accuracy`, `target_success` (share of poisoned images that the surrogate takes for their
    target; untargeted, for any wrong class), `restart_losses`, and `converged`: no limit was reached. A wall-clock
    limit (`max_seconds`) makes the result depend on the machine's speed.

    Attributes:
        targeted: towards class (y + 1) mod K; if not, away from y, which the authors call brittle.
        steps: gradient steps.
        step_size: of one step; None is eps / 20, for fewer than 40 steps more (2 * eps / steps, at most eps).
        restarts: random starts; the one with the best mean loss over all images is kept.
        shift: largest shift along each axis, in pixels, while crafting and while training the surrogate; None is an
            eighth of the shorter side: 4 at 32 pixels, 8 at 64, 28 at 224.
        flip: mirror half of the images, likewise.
        surrogate_epochs: its training on clean images.
        schedule: of the surrogate's learning rate: `multistep` (times 0.1 from epochs 14, 24 and 35 of 40 on, counted
            from 0) or `one-cycle`.
        lr: of the surrogate's training, at its highest.
        max_passes: stop crafting once this many images went through the surrogate, its training counted in; None for
            no limit. The surrogate's training and one step are always completed.
        max_seconds: stop crafting after about this time, likewise; None for no limit.
        craft_on: `all`, or `subset`.
    """

    targeted: bool = True
    steps: int = 250
    step_size: float | None = None
    restarts: int = 8
    shift: float | None = None
    flip: bool = True
    surrogate_epochs: int = 40
    schedule: Literal["multistep", "one-cycle"] = "multistep"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            steps=self.steps,
            step_size=self.step_size,
            restarts=self.restarts,
            surrogate_epochs=self.surrogate_epochs,
        )
        if self.shift is not None and not 0 <= self.shift < 1e4:
            raise ValueError(f"shift must be a number of pixels >= 0, got {self.shift}")
        if self.schedule not in ("multistep", "one-cycle"):
            raise ValueError(f"schedule must be multistep or one-cycle, got {self.schedule!r}")

    @property
    def _recipe(self) -> Recipe:
        milestones = tuple(int(self.surrogate_epochs // divisor) for divisor in _DECAYS)
        return Recipe(
            epochs=self.surrogate_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            nesterov=True,
            schedule=self.schedule,
            milestones=tuple(epoch for epoch in milestones if epoch > 0),
            clip_grad_norm=None,
        )

    @property
    def noise_copies(self) -> int:
        """The current noise and the best start's."""
        return 1 if self.restarts == 1 else 2

    def passes_per_image(self, images: int) -> float:
        """The surrogate's training, and every step of every restart."""
        return self.surrogate_epochs * STEP_PASSES + self.restarts * self.steps * GRADIENT_PASSES

    def craft(self, train: ImageSet, ctx: Context, passes: Passes) -> Crafted:
        """Trains the surrogate on the clean images, and attacks it from every start."""
        mean, std = _statistics(train)
        surrogate = build_surrogate(self.surrogate, train.info, ctx, mean=mean, std=std, kaiming=True)
        mean = mean.to(ctx.device)
        pixels = self._pixels(train.info)
        self._train(surrogate, train, mean, pixels, ctx)
        passes.training += self.surrogate_epochs * len(train)
        with ctx.phase("craft"):
            delta, losses, complete = self._craft(surrogate, train, mean, pixels, ctx, passes)
        ctx.log("restart_losses", losses)
        return Crafted(surrogate, lambda rows: delta[rows], complete)

    def report(self, crafted: Crafted, train: ImageSet, poisoned: ImageSet, ctx: Context) -> None:
        """Adds the share of images that reach their target."""
        super().report(crafted, train, poisoned, ctx)
        with labeled(crafted.surrogate, train.labels):
            found = predict(crafted.surrogate, poisoned.images, ctx.device).cpu()
        hit = (found == self._targets(train.labels, train.info.num_classes)) == self.targeted
        ctx.log("target_success", float(hit.float().mean()))

    def _targets(self, labels: Tensor, classes: int) -> Tensor:
        """The class each image moves to; untargeted, the one it moves away from."""
        return (labels + 1) % classes if self.targeted else labels

    def _train(self, surrogate: nn.Module, near: ImageSet, mean: Tensor, pixels: float, ctx: Context) -> None:
        def loss(batch: Batch) -> Tensor:
            moves = draw_shifts(len(batch.rows), pixels, self.flip, ctx.stream("transform"))
            logits = surrogate(shift(batch.images_01, moves, mean) if pixels or self.flip else batch.images_01)
            return functional.cross_entropy(logits.float(), batch.labels)

        lonely = len(near) % self.batch_size == 1
        batches = Batches(near, ctx.device, self.batch_size, ctx.generator("batch-order"), drop_last=lonely)
        loss = labeled_loss(surrogate, loss)
        fit(surrogate, batches, loss, self._recipe, ctx, phase="surrogate", replayable=ctx.through is None)

    def _pixels(self, info: DataInfo) -> float:
        """The largest shift; the authors' 8/31 of half the side (31 between outer centers) is 4 pixels at 32."""
        return min(info.shape[1:]) / 8 if self.shift is None else self.shift

    def _craft(
        self, surrogate: nn.Module, near: ImageSet, mean: Tensor, pixels: float, ctx: Context, passes: Passes
    ) -> tuple[Tensor, list[float], bool]:
        """The noise of the best restart, the loss of every one, and whether no limit cut them short."""
        starts, draws = ctx.generator("delta-init"), ctx.generator("craft-transform")
        targets = self._targets(near.labels, near.info.num_classes)
        direction = "minimize" if self.targeted else "maximize"
        step_size = self.step_size or max(self.eps / 20, step_across(self.eps, self.steps))
        sweep = Sweep(surrogate, near, targets, direction, self.budget, step_size, mean, ctx.device, passes)
        losses: list[float] = []
        moving = pixels > 0 or self.flip
        done, total = 0, self.restarts * self.steps
        best = torch.empty(0)
        while len(losses) < self.restarts and not (losses and passes.spent()):
            delta = sweep.start(starts)
            for step in range(1, self.steps + 1):
                last = step == self.steps or passes.spent()
                moves = draw_shifts(len(near), pixels, self.flip, draws).to(ctx.device) if moving else None
                value = sweep.step(delta, moves, measure=last)
                done += 1
                ctx.progress(done, total, f"start {len(losses) + 1} of {self.restarts}")
                if last:
                    break
            check_finite(value, f"while crafting, start {len(losses) + 1}", "lower lr or surrogate_epochs")
            losses.append(value)
            if value == (min if self.targeted else max)(losses):
                best = delta
        return best, losses, done == total


def _statistics(near: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel on the [0, 1] scale, float32 (C,); a constant channel has 1."""
    sums = torch.zeros(2, near.info.shape[0], dtype=torch.int64)
    for images in near.images.split(256):
        levels = images.to(torch.int64)
        sums += torch.stack([levels.sum((0, 2, 3)), levels.square().sum((0, 2, 3))]).cpu()
    mean, square = sums.double() / (len(near) * near.info.shape[1] * near.info.shape[2])
    std = (square - mean.square()).clamp(min=0).sqrt()
    return (mean / 255).float(), torch.where(std > 0, std / 255, 1.0).float()
