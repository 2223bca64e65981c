"""HYPO: hypocritical perturbations (Tao et al., "Better Safe Than Sorry: Preventing Delusive Adversaries with
Adversarial Training", NeurIPS 2021, arXiv:2102.04716; poison P2).

Adversarial examples towards the image's own class, on a network trained on clean images: TAP's step, other labels.

Deviations from the authors' code (`TLMichael/Delusive-Adversary`):
- the L-inf ball of 8/255 and a ResNet-18, as the papers that compare attacks run it (100 steps of 0.8/255); the authors
  have L2 0.5, steps of a fifth of that, and a VGG-16;
- the surrogate sees all training images; theirs leaves out 1,000 for validation;
- an incomplete last batch of a single image is left out of the surrogate's training: it has no batch statistics.

Another paper of the same authors (arXiv:2201.13329) crafts against adversarial training, under the same name, with a
surrogate that was itself trained adversarially. That is another method.
"""

from dataclasses import dataclass

import torch

from bench.api import GRADIENT_PASSES, STEP_PASSES, Context, ImageSet, Recipe
from bench.registry import attacks
from bench.training.pgd import step_across
from bench.training.surrogates import (
    Crafted,
    Passes,
    SurrogateAttack,
    Sweep,
    build_surrogate,
    check_finite,
    check_positive,
    empty_noise,
    step_decay,
    train_on_clean,
)

_DECAYS = (2 / 3, 5 / 6)  # of the epochs: the authors' 100 and 125 of 150


@attacks.register("hypo", source="arXiv:2102.04716")
@dataclass(frozen=True)
class Hypo(SurrogateAttack):
    """Images that are easier than they were for a network trained on clean images; a weak poison by itself.

    Costs the training of a surrogate and 100 gradients per image. A victim still learns from the images: papers print
    62 to 72 % undefended on CIFAR-10.

    Logs `surrogate_clean_accuracy`, `surrogate_poison_accuracy`, `final_loss` (mean loss of the surrogate on the
    poisoned images before the last step) and `converged`: no limit was reached.

    Attributes:
        steps: gradient steps, from the clean image.
        step_size: of one step; None is eps / 10, for fewer than 20 steps more (2 * eps / steps, at most eps).
        surrogate_epochs: its training on clean images, with crops and flips; its learning rate falls by 10 after two
            thirds and after five sixths of them.
        crop_padding: of the random crops in that training, in pixels.
        flip: mirror half of the images in that training.
        max_passes: stop crafting once this many images went through the surrogate, its training counted in; None for
            no limit. The surrogate's training and one step are always completed.
        max_seconds: stop crafting after about this time, likewise; None for no limit.
    """

    steps: int = 100
    step_size: float | None = None
    surrogate_epochs: int = 150
    crop_padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(steps=self.steps, step_size=self.step_size, surrogate_epochs=self.surrogate_epochs)
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be a number of pixels >= 0, got {self.crop_padding}")

    @property
    def _recipe(self) -> Recipe:
        return step_decay(
            self.surrogate_epochs,
            _DECAYS,
            batch_size=self.batch_size,
            lr=self.lr,
            crop_padding=self.crop_padding,
            flip=self.flip,
        )

    def passes_per_image(self, images: int) -> float:
        """The surrogate's training, and every step."""
        return self.surrogate_epochs * STEP_PASSES + self.steps * GRADIENT_PASSES

    def craft(self, train: ImageSet, ctx: Context, passes: Passes) -> Crafted:
        """Trains the surrogate on the clean images, and descends its loss from every image."""
        surrogate = build_surrogate(self.surrogate, train.info, ctx)
        train_on_clean(surrogate, train, self._recipe, ctx)
        passes.training += self.surrogate_epochs * len(train)

        step_size = self.step_size or max(self.eps / 10, step_across(self.eps, self.steps))
        fill = torch.zeros(train.info.shape[0], device=ctx.device)  # never seen: nothing moves
        sweep = Sweep(surrogate, train, train.labels, "minimize", self.budget, step_size, fill, ctx.device, passes)
        delta = empty_noise(train, ctx.device)
        with ctx.phase("craft"):
            for step in range(1, self.steps + 1):
                last = step == self.steps or passes.spent()
                loss = sweep.step(delta, None, measure=last)
                ctx.progress(step, self.steps, f"step {step}")
                if last:
                    break
        check_finite(loss, "while crafting", "lower lr or surrogate_epochs")
        ctx.log("final_loss", loss)
        return Crafted(surrogate, lambda rows: delta[rows], converged=step == self.steps)
