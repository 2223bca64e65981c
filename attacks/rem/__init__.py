"""REM: robust error-minimizing noise (Fu et al., ICLR 2022, arXiv:2203.14533).

Error-minimizing noise for a surrogate that is attacked: the defender makes the loss small for the worst image within
`rho_a` of a randomly cropped and flipped noisy image, and the surrogate trains on just such images.

Deviations from the authors' code (`fshp971/robust-unlearnable-examples`):
- at the end the noise of every image is made anew; theirs leaves out an incomplete last batch (80 of 50,000 images),
  whose noise stems from an earlier surrogate;
- noise that the next visit would overwrite is not stored: with a fresh start each visit nothing ever reads it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.rem.min_max import Players
from bench.api import GRADIENT_PASSES, STEP_PASSES, Budget, Context, ImageSet, Recipe, check_crops
from bench.registry import attacks
from bench.training import Batch, Batches, resident
from bench.training.pgd import step_across
from bench.training.surrogates import (
    Crafted,
    Passes,
    SurrogateAttack,
    Trainer,
    build_surrogate,
    check_finite,
    check_positive,
    chunks,
    judge,
    labeled,
    load,
)

_CHECK_EVERY = 100  # training steps between looks at their loss, each of which waits for the device
_REPORTED = 500  # images on which the robust losses are measured


@attacks.register("rem", source="arXiv:2203.14533")
@dataclass(frozen=True)
class Rem(SurrogateAttack):
    """Robust error-minimizing noise: survives adversarial training with radii up to `rho_a`, and crops and flips.

    The most expensive attack here: as 15,500 forward passes per image, 38 times EM. Against plain training a large
    `rho_a` is weaker than a small one.

    Logs the final surrogate's loss under attack on clean and on noisy images (`robust_loss_clean`,
    `robust_loss_poison`, `robust_loss_gap`; 500 images) and `surrogate_robust_accuracy` on the noisy ones;
    `converged`: all training steps were made. A wall-clock limit (`max_seconds`) makes the result depend on the
    machine's speed.

    Attributes:
        eps: L-inf radius of the noise on the [0, 1] scale.
        rho_a: L-inf radius of the attacker whom the noise shall survive, at most eps / 2; None is eps / 2.
        train_steps: training steps of the surrogate.
        lr: of the surrogate at the start.
        lr_decay_every: training steps after which the learning rate is divided by ten, each time.
        steps: the defender's gradient steps, at each visit from a uniform start.
        step_size: of one such step; None is travel * eps / steps, at most eps: eps / 5 for ten steps.
        attacker_steps: gradient steps of the attacker, for each draw and each step of the defender.
        attacker_step_size: of one such step; None is travel * rho_a / attacker_steps, likewise.
        travel: how far all steps of a player go together, in its radii, where its step size is None.
        samples: crops and flips that each step of the defender averages over.
        crop_padding: black border of the random crop, in pixels; 0 for no crop.
        random_resized_crop: crops of a random size, resized, as the authors have them at 224 pixels; needs
            crop_padding=0.
        flip: mirror half of the images.
        max_passes: stop training so early that with the last generation of the noise about this many images went
            through the surrogate; None for no limit.
        max_seconds: stop training after about this time; the last generation comes on top. None for no limit.
        craft_on: `all`: with poison_rate < 1 the noise is found on all images, as in the authors' code; or `subset`.
    """

    rho_a: float | None = None
    train_steps: int = 5000
    lr_decay_every: int = 2000
    steps: int = 10
    step_size: float | None = None
    attacker_steps: int = 10
    attacker_step_size: float | None = None
    travel: float = 2.0
    samples: int = 5
    crop_padding: int = 4
    random_resized_crop: bool = False
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            train_steps=self.train_steps,
            lr_decay_every=self.lr_decay_every,
            steps=self.steps,
            step_size=self.step_size,
            attacker_step_size=self.attacker_step_size,
            travel=self.travel,
            samples=self.samples,
        )
        # An error, not a warning: beyond eps / 2 nobody has shown that the noise survives, and a weak poison under
        # this name would be a wrong number.
        if self.rho_a is not None and not 0 <= self.rho_a <= self.eps / 2 + 1e-9:
            raise ValueError(
                f"rho_a must be in 0..eps/2 = {self.eps * 127.5:g}/255, got {self.rho_a * 255:g}/255; "
                "the noise cannot outweigh a stronger attacker: raise eps or lower rho_a"
            )
        check_crops(self.crop_padding, self.random_resized_crop)
        if self.attacker_steps < 0 or self.crop_padding < 0:
            raise ValueError(
                f"attacker_steps and crop_padding must be at least 0, got {self.attacker_steps} and {self.crop_padding}"
            )

    @property
    def _recipe(self) -> Recipe:
        """An epoch of it is one step."""
        milestones = tuple(range(self.lr_decay_every, self.train_steps, self.lr_decay_every))
        return Recipe(
            epochs=self.train_steps, lr=self.lr, schedule="multistep", milestones=milestones, clip_grad_norm=None
        )

    noise_copies = 0

    def passes_per_image(self, images: int) -> float:
        """Every visit of an image is a step of all players; the noise is made once more at the end."""
        attacker_steps = 0 if self.rho_a == 0 else self.attacker_steps
        defend = self.steps * self.samples * (attacker_steps + 1) * GRADIENT_PASSES
        visits = self.train_steps * min(self.batch_size, images) / images
        return visits * (defend + attacker_steps * GRADIENT_PASSES + STEP_PASSES) + defend

    def craft(self, train: ImageSet, ctx: Context, passes: Passes) -> Crafted:
        """Trains the surrogate; the noise is made when it is asked for."""
        players = self._players(ctx)
        mean = torch.full(train.info.shape[:1], 0.5)
        surrogate = build_surrogate(self.surrogate, train.info, ctx, mean=mean)
        with ctx.phase("train"):
            steps = self._train(surrogate, players, train, ctx, passes)
        ctx.log("surrogate_steps", steps)

        def regenerate(rows: slice) -> Tensor:
            passes.gradient += players.passes * (rows.stop - rows.start)
            parts = []
            for part in chunks(rows.stop - rows.start, train.info.shape, ctx.device):
                here = slice(rows.start + part.start, rows.start + part.stop)
                images, labels = load(train, here, ctx.device)
                with labeled(surrogate, labels):
                    parts.append(players.defend(surrogate, images, labels, _ratios(train, here)).cpu())
            return torch.cat(parts)

        return Crafted(surrogate, regenerate, converged=steps == self.train_steps)

    def report(self, crafted: Crafted, train: ImageSet, poisoned: ImageSet, ctx: Context) -> None:
        """Adds the surrogate's losses under attack, and its accuracy there."""
        super().report(crafted, train, poisoned, ctx)
        players = self._players(ctx)
        order = torch.randperm(len(train), generator=ctx.generator("report-sample"))[:_REPORTED].sort().values
        sums = {}
        for name, data in (("clean", train), ("poison", poisoned)):
            part = resident(data.take(order), ctx.device)
            total, right = torch.zeros(2, device=ctx.device).unbind()
            for rows in chunks(len(part), part.info.shape, ctx.device):
                images, labels = load(part, rows, ctx.device)
                with labeled(crafted.surrogate, labels):
                    hostile = players.attack(crafted.surrogate, players.move(images, _ratios(part, rows)), labels)
                    loss, hits = judge(crafted.surrogate, hostile, labels)
                total, right = total + loss, right + hits
            sums[name] = (float(total) / len(part), float(right) / len(part))
            # The last step of the training may be the one that diverges, and then the noise is none.
            check_finite(sums[name][0], f"under attack after the training (lr {self.lr:g})", "lower lr")
            ctx.log(f"robust_loss_{name}", sums[name][0])
        ctx.log("robust_loss_gap", sums["clean"][0] - sums["poison"][0])
        ctx.log("surrogate_robust_accuracy", sums["poison"][1])

    def _players(self, ctx: Context) -> Players:
        rho_a = self.eps / 2 if self.rho_a is None else self.rho_a
        return Players(
            ctx,
            self.budget,
            self.step_size or step_across(self.eps, self.steps, self.travel),
            self.steps,
            self.samples,
            Budget("linf", rho_a),
            self.attacker_step_size or step_across(rho_a, self.attacker_steps, self.travel),
            self.attacker_steps if rho_a else 0,
            self.crop_padding,
            self.random_resized_crop,
            self.flip,
        )

    def _train(self, surrogate: nn.Module, players: Players, near: ImageSet, ctx: Context, passes: Passes) -> int:
        """Trains the surrogate on attacked noisy images; returns the number of steps made."""

        def loss(batch: Batch) -> Tensor:
            with torch.autocast(ctx.device.type, enabled=False):  # the players ask for it where the network runs
                ratios = _ratios(near, batch.rows)
                delta = players.defend(surrogate, batch.images_01, batch.labels, ratios)
                noisy = (batch.images_01 + (255 * delta).round() / 255).clamp(0, 1)
                hostile = players.attack(surrogate, players.move(noisy, ratios), batch.labels)
            return functional.cross_entropy(surrogate(hostile).float(), batch.labels)

        batches = Batches(near, ctx.device, self.batch_size, ctx.generator("batch-order"), drop_last=True)
        trainer = Trainer(surrogate, batches, loss, self._recipe, ctx, passes, replayable=ctx.through is None)
        for step in range(1, self.train_steps + 1):
            images = trainer.step()
            passes.gradient += (players.passes + players.attacker_steps) * images
            last = step == self.train_steps or passes.spent(reserve=players.passes * len(near))
            if last or step % _CHECK_EVERY == 0:
                value = trainer.loss()
                check_finite(value, f"by training step {step} (lr {self.lr:g})", "lower lr")
                ctx.progress(step, self.train_steps, f"surrogate under attack, loss {value:.3f}")
            if last:
                break
        return step


def _ratios(images: ImageSet, rows: slice | Tensor) -> Tensor | None:
    """Width by height of the originals of these images, if they were squeezed."""
    return None if images.aspect_ratios is None else images.aspect_ratios[rows]
