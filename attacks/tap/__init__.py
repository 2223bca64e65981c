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

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.tap.sweep import Sweep
from bench.api import (
    GRADIENT_PASSES,
    STEP_PASSES,
    Budget,
    Context,
    DataInfo,
    ImageSet,
    PartialPoison,
    Recipe,
    Work,
    perturb,
)
from bench.registry import attacks
from bench.training import Batch, Batches, fit, predict, resident
from bench.training.moves import draw_shifts, shift
from bench.training.pgd import step_across
from bench.training.surrogates import (
    Passes,
    SurrogateName,
    build_surrogate,
    check_batch_size,
    check_classes,
    check_eps,
    check_finite,
    check_memory,
    check_positive,
    check_surrogate,
    chosen_rows,
    report,
    surrogate_layers,
)

_DECAYS = (2.667, 1.6, 1.142)  # the authors' divisors of the number of epochs


@attacks.register("tap", source="arXiv:2106.10807")
@dataclass(frozen=True)
class Tap(PartialPoison):
    """Adversarial examples towards the next class, with their old labels; the strongest against plain training.

    Costs the training of a surrogate and 2,000 gradients per image. Clean test accuracy falls below chance:
    an image of class c is taken for class c - 1. Adversarial training undoes it.

    With `poison_rate` < 1 the surrogate sees all clean images, as in the authors' code; `craft_on=subset` trains it on
    the images to be poisoned alone.

    Logs `surrogate_clean_accuracy`, `target_success` (share of poisoned images that the surrogate takes for their
    target; untargeted, for any wrong class), `restart_losses`, and `converged`: no limit was reached. A wall-clock
    limit (`max_seconds`) makes the result depend on the machine's speed.

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
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
        batch_size: of the surrogate's training; a smaller set is one batch.
        lr: of the surrogate's training, at its highest.
        surrogate: `resnet18`, `resnet18-imagenet` (torchvision's stem, for 224 pixels), or `s-net` (for a CPU).
        max_passes: stop crafting once this many images went through the surrogate, its training counted in; None for
            no limit. The surrogate's training and one step are always completed.
        max_seconds: stop crafting after about this time, likewise; None for no limit.
        craft_on: `all`, or `subset`.
    """

    eps: float = 8 / 255
    targeted: bool = True
    steps: int = 250
    step_size: float | None = None
    restarts: int = 8
    shift: float | None = None
    flip: bool = True
    surrogate_epochs: int = 40
    schedule: Literal["multistep", "one-cycle"] = "multistep"
    batch_size: int = 128
    lr: float = 0.1
    surrogate: SurrogateName = "resnet18"
    max_passes: int | None = None
    max_seconds: float | None = None
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self.eps)
        check_surrogate(self.surrogate)
        check_batch_size(self.batch_size)
        check_positive(
            steps=self.steps,
            step_size=self.step_size,
            restarts=self.restarts,
            surrogate_epochs=self.surrogate_epochs,
            lr=self.lr,
            max_passes=self.max_passes,
            max_seconds=self.max_seconds,
        )
        if self.shift is not None and not 0 <= self.shift < 1e4:
            raise ValueError(f"shift must be a number of pixels >= 0, got {self.shift}")
        if self.schedule not in ("multistep", "one-cycle"):
            raise ValueError(f"schedule must be multistep or one-cycle, got {self.schedule!r}")

    @property
    def budget(self) -> Budget:
        return Budget("linf", self.eps)

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

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if only one class is crafted from, or the noise of all images exceeds the memory."""
        seen = train if self.craft_on == "all" else train.take(chosen_rows(self, train))
        check_classes(seen)
        check_memory(seen, 1 if self.restarts == 1 else 2)  # the current noise and the best start's

    def work(self, info: DataInfo, images: int) -> Work | None:
        """The surrogate's training, and every step of every restart."""
        if self.max_passes or self.max_seconds:
            return None
        passes = self.surrogate_epochs * STEP_PASSES + self.restarts * self.steps * GRADIENT_PASSES
        return Work(lambda: surrogate_layers(self.surrogate, info), passes)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        check_classes(train)
        passes = Passes(self.max_passes, self.max_seconds)
        near = resident(train, ctx.device)
        mean, std = _statistics(near)
        surrogate = build_surrogate(self.surrogate, train.info, ctx, mean=mean, std=std, kaiming=True)
        mean = mean.to(ctx.device)
        pixels = self._pixels(train.info)
        self._train(surrogate, near, mean, pixels, ctx)
        passes.training += self.surrogate_epochs * len(train)
        with ctx.phase("craft"):
            delta, losses, complete = self._craft(surrogate, near, mean, pixels, ctx, passes)
        with ctx.phase("perturb"):
            poisoned = perturb(train, lambda rows: delta[rows].cpu(), ctx, linf=self.eps)
        ctx.log("restart_losses", losses)
        passes.log(ctx, converged=complete)
        with ctx.phase("report"):
            report(surrogate, train, poisoned, ctx)
            found = predict(surrogate, poisoned.images, ctx.device).cpu()
            hit = (found == self._targets(train.labels, train.info.num_classes)) == self.targeted
            ctx.log("target_success", float(hit.float().mean()))
        return poisoned

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
        fit(surrogate, batches, loss, self._recipe, ctx, phase="surrogate")

    def _pixels(self, info: DataInfo) -> float:
        """The largest shift; the authors' 8/31 of half the side (31 between outer centers) is 4 pixels at 32."""
        return min(info.shape[1:]) / 8 if self.shift is None else self.shift

    def _craft(
        self, surrogate: nn.Module, near: ImageSet, mean: Tensor, pixels: float, ctx: Context, passes: Passes
    ) -> tuple[Tensor, list[float], bool]:
        """The noise of the best restart, the loss of every one, and whether no limit cut them short."""
        starts, draws = ctx.generator("delta-init"), ctx.generator("craft-transform")
        targeted = replace(near, labels=self._targets(near.labels, near.info.num_classes))
        direction = "minimize" if self.targeted else "maximize"
        step_size = self.step_size or max(self.eps / 20, step_across(self.eps, self.steps))
        sweep = Sweep(surrogate, targeted, direction, self.budget, step_size, mean, ctx.device, passes)
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
