"""EM: error-minimizing noise (Huang et al., "Unlearnable Examples", ICLR 2021, arXiv:2101.04898).

A surrogate and the noise are trained together, both to make the loss small: what is left to learn is the noise.

Deviations from the authors' code (`HanxunH/Unlearnable-Examples`):
- the noise keeps its sign, as in the paper; their data sets drop its negative half (`positive_only`);
- sample-wise training batches are shuffled; theirs keep the order of the data set (`official_order`), which gives
  batches of one class where a set is sorted;
- images are rounded to nearest; theirs truncates (`rounding=floor`);
- rounds are capped, and the best round is kept where the error does not fall below the stopping value; the error is
  not monotone (their log has 8 %, 88 %, 53 % on the way to 99.7 % accuracy);
- a last training batch of a single image is left out: it has no batch statistics.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional

from attacks.em.noise import ClassNoise, Descent, SampleNoise
from bench.api import GRADIENT_PASSES, STEP_PASSES, Context, ImageSet, Recipe, Rounding
from bench.registry import attacks
from bench.training import Batch, Batches
from bench.training.pgd import step_across
from bench.training.surrogates import (
    Crafted,
    Passes,
    SurrogateAttack,
    Trainer,
    build_surrogate,
    check_finite,
    check_positive,
)

_COMMON_ROUNDS = 10


@attacks.register("em", source="arXiv:2101.04898")
@dataclass(frozen=True)
class Em(SurrogateAttack):
    """Error-minimizing noise: a shortcut so easy that nothing else is learned; weak against adversarial training.

    Costs about 20 gradients per image and round, ten rounds or so; class-wise a fiftieth of that. Strong augmentation
    and adversarial training undo it.

    Logs the error on the noisy images after every round (`round_errors`), `rounds`, and `converged`: whether the last
    one is at most the stopping error. If not, the noise is the best round's. A wall-clock limit (`max_seconds`) makes
    the result depend on the machine's speed.

    Attributes:
        mode: `sample`, one noise per image, or `class`, one noise per class.
        steps: gradient steps on the noise per round; None is 20, class-wise 1.
        step_size: of one such step; None is eps / 10 for the 20 steps, more for fewer (2 * eps / steps, at most eps);
            class-wise eps / 10.
        batches_per_round: surrogate training steps per round.
        batch_size: of those steps, and of the class-wise noise steps; a smaller set is one batch.
        lr: of the surrogate, constant.
        weight_decay: of the surrogate.
        stop_error: share of noisy images classified wrongly at which crafting ends; None is 0.01, class-wise 0.1.
        max_rounds: cap; the authors' code has none.
        noise_fraction: class-wise, the share of every class that the noise is found on.
        official_order: sample-wise training batches in the order of the data set, as in the authors' code.
        positive_only: drop negative noise when it is added to the images, as in the authors' code.
        rounding: `nearest`, or `floor` as in the authors' code.
        craft_on: `all`: with poison_rate < 1 the noise is found on all images, as in the authors' code; or `subset`.
    """

    mode: Literal["sample", "class"] = "sample"
    steps: int | None = None
    step_size: float | None = None
    batches_per_round: int = 10
    batch_size: int = 512
    weight_decay: float = 5e-4
    stop_error: float | None = None
    max_rounds: int = 50
    noise_fraction: float = 0.2
    official_order: bool = False
    positive_only: bool = False
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("sample", "class"):
            raise ValueError(f"mode must be sample or class, got {self.mode!r}")
        if self.rounding not in get_args(Rounding):
            raise ValueError(f"rounding must be nearest or floor, got {self.rounding!r}")
        check_positive(
            steps=self.steps,
            step_size=self.step_size,
            batches_per_round=self.batches_per_round,
            max_rounds=self.max_rounds,
        )
        if self.stop_error is not None and not 0 <= self.stop_error < 1:
            raise ValueError(f"stop_error is a share of the images in [0, 1), got {self.stop_error}")
        if not 0 < self.noise_fraction <= 1:
            raise ValueError(f"noise_fraction must be in (0, 1], got {self.noise_fraction}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be a finite number >= 0, got {self.weight_decay}")

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            epochs=1,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule="constant",
            clip_grad_norm=5.0,
        )

    @property
    def noise_copies(self) -> int:
        """The current noise of every image and the best round's."""
        if self.mode == "class":
            return 0
        return 1 if self.max_rounds == 1 else 2

    def passes_per_image(self, images: int) -> float:
        """For the ten rounds it commonly takes."""
        rounds = min(_COMMON_ROUNDS, self.max_rounds)
        steps = self.steps or (1 if self.mode == "class" else 20)
        share = self.noise_fraction if self.mode == "class" else 1.0
        trained = self.batches_per_round * min(self.batch_size, images) / images
        return rounds * (trained * STEP_PASSES + share * (steps * GRADIENT_PASSES + 1))

    def craft(self, train: ImageSet, ctx: Context, passes: Passes) -> Crafted:
        """Round after round, until the error on the noisy images is small."""
        surrogate = build_surrogate(self.surrogate, train.info, ctx)
        delta, errors = self._rounds(surrogate, self._noise(train, ctx, passes), train, ctx, passes)
        ctx.log("round_errors", errors)
        ctx.log("rounds", len(errors))

        def noise(rows: slice) -> Tensor:
            part = delta[train.labels[rows]] if self.mode == "class" else delta[rows]
            return part.clamp(min=0) if self.positive_only else part

        return Crafted(surrogate, noise, converged=errors[-1] <= self._stop_error)

    @property
    def _stop_error(self) -> float:
        if self.stop_error is not None:
            return self.stop_error
        return 0.1 if self.mode == "class" else 0.01

    def _noise(self, near: ImageSet, ctx: Context, passes: Passes) -> SampleNoise | ClassNoise:
        class_wise = self.mode == "class"
        steps = self.steps or (1 if class_wise else 20)
        default = self.eps / 10 if class_wise else step_across(self.eps, steps)
        descent = Descent(self.budget, steps, self.step_size or default, passes)
        if class_wise:
            return ClassNoise(near, ctx, descent, self.batch_size, self.noise_fraction)
        return SampleNoise(near, ctx, descent)

    def _rounds(
        self, surrogate: nn.Module, noise: SampleNoise | ClassNoise, near: ImageSet, ctx: Context, passes: Passes
    ) -> tuple[Tensor, list[float]]:
        """The noise of the best round, and the error of every round."""
        class_wise = self.mode == "class"
        batches = Batches(
            near,
            ctx.device,
            self.batch_size,
            ctx.generator("batch-order"),
            shuffle=class_wise or not self.official_order,
            drop_last=class_wise,
        )

        def loss(batch: Batch) -> Tensor:
            noisy = batch.images_01 + noise.of(batch.rows, batch.labels)
            return functional.cross_entropy(surrogate(noisy).float(), batch.labels)

        replayable = noise.near and ctx.through is None
        trainer = Trainer(surrogate, batches, loss, self._recipe, ctx, passes, replayable=replayable)
        errors: list[float] = []
        best = noise.delta
        last = False
        while not last:
            where = f"in round {len(errors) + 1}"
            with ctx.phase("train"):
                for _ in range(self.batches_per_round):
                    trainer.step()
                value = trainer.loss()
            check_finite(value, f"in training, {where} (lr {self.lr:g})", "lower lr")
            with ctx.phase("noise"):
                noise.update(surrogate)
            with ctx.phase("evaluate"):
                error, value = noise.judge(surrogate)
            check_finite(value, f"on the noisy images, {where} (lr {self.lr:g})", "lower lr")
            errors.append(error)
            last = error <= self._stop_error or len(errors) == self.max_rounds or passes.spent()
            if error <= min(errors):
                best = noise.delta if last else noise.delta.clone()
            ctx.progress(len(errors), self.max_rounds, f"round {len(errors)}, error {error:.3f}")
        return best, errors
