"""SEP: self-ensemble protection (Chen et al., ICLR 2023, arXiv:2211.12005).

TAP's targeted adversarial examples against the checkpoints of one training instead of its last network.

Deviations from the authors' code (`Sizhe-Chen/SEP`):
- the radius is 8/255 by default, as in tables of other papers; the example of the code page has 2/255;
- this is the plain method (`ens.py`). The variants SEP-FA (features move towards the mean features of the target class)
  and SEP-FA-VR (with reduced variance) are not built; a published value of these is no value of this attack;
- the target of class y is y + K / 2, rounded down; theirs is y + 5 of 10 classes;
- the learning rate does not rise during the first epoch; theirs does, from 0.001;
- checkpoints are equally far apart in the training; the released code stores an epoch only where its accuracy on test
  images is the best so far, and takes every n-th of these. A choice by test images is not repeated here;
- an incomplete last batch of a single image is left out of the surrogate's training: it has no batch statistics.
"""

import copy
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor, nn

from bench.api import GRADIENT_PASSES, STEP_PASSES, Context, ImageSet, Recipe
from bench.registry import attacks
from bench.training import predict
from bench.training.pgd import step_across
from bench.training.surrogates import (
    Crafted,
    Passes,
    SurrogateAttack,
    Sweep,
    build_surrogate,
    check_positive,
    empty_noise,
    labeled,
    step_decay,
    train_on_clean,
)

_DECAYS = (75 / 120, 90 / 120)  # of the epochs


@attacks.register("sep", source="arXiv:2211.12005")
@dataclass(frozen=True)
class Sep(SurrogateAttack):
    """Adversarial examples towards another class for the checkpoints of one training; transfers better than TAP.

    Costs the training of a surrogate and 900 gradients per image (30 steps against 30 checkpoints). All checkpoints
    stay in memory: 45 MB each for ResNet-18.

    Logs `surrogate_clean_accuracy`, `surrogate_poison_accuracy` and `target_success` of the last checkpoint, and
    `converged`: no limit was reached.

    Attributes:
        steps: gradient steps, from the clean image; each sums the gradients of all checkpoints.
        step_size: of one step; None is eps / 8, for fewer than 16 steps more (2 * eps / steps, at most eps).
        checkpoints: equally far apart, the last one after the last epoch.
        surrogate_epochs: its training on clean images, with crops and flips; its learning rate falls by 10 after 75 and
            after 90 of 120 of them. A multiple of the number of checkpoints.
        crop_padding: of the random crops in that training, in pixels.
        flip: mirror half of the images in that training.
        max_passes: stop crafting once this many images went through the surrogate, its training counted in; None for
            no limit. The surrogate's training and one step are always completed.
        max_seconds: stop crafting after about this time, likewise; None for no limit.
    """

    steps: int = 30
    step_size: float | None = None
    checkpoints: int = 30
    surrogate_epochs: int = 120
    crop_padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            steps=self.steps,
            step_size=self.step_size,
            checkpoints=self.checkpoints,
            surrogate_epochs=self.surrogate_epochs,
        )
        if self.surrogate_epochs % self.checkpoints:
            raise ValueError(
                f"surrogate_epochs must be a multiple of checkpoints, got {self.surrogate_epochs} and "
                f"{self.checkpoints}; the paper has 120 and 30"
            )
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
        """The surrogate's training, and every step against every checkpoint."""
        return self.surrogate_epochs * STEP_PASSES + self.steps * self.checkpoints * GRADIENT_PASSES

    def craft(self, train: ImageSet, ctx: Context, passes: Passes) -> Crafted:
        """Trains the surrogate on the clean images, and attacks all its checkpoints at once."""
        ensemble = _InTurn(self._train(train, ctx))
        passes.training += self.surrogate_epochs * len(train)
        step_size = self.step_size or max(self.eps / 8, step_across(self.eps, self.steps))
        targets = _targets(train.labels, train.info.num_classes)
        fill = torch.zeros(train.info.shape[0], device=ctx.device)  # never seen: nothing moves
        sweep = Sweep(
            ensemble, train, targets, "minimize", self.budget, step_size, fill, ctx.device, passes, self.checkpoints
        )
        delta = empty_noise(train, ctx.device)
        with ctx.phase("craft"):
            for step in range(1, self.steps + 1):
                sweep.step(delta, None, measure=False)
                ctx.progress(step, self.steps, f"step {step}")
                if passes.spent():
                    break
        return Crafted(ensemble.members[-1], lambda rows: delta[rows], converged=step == self.steps)

    def report(self, crafted: Crafted, train: ImageSet, poisoned: ImageSet, ctx: Context) -> None:
        """Adds the share of images that the last checkpoint takes for their target."""
        super().report(crafted, train, poisoned, ctx)
        with labeled(crafted.surrogate, train.labels):
            found = predict(crafted.surrogate, poisoned.images, ctx.device).cpu()
        ctx.log("target_success", float((found == _targets(train.labels, train.info.num_classes)).float().mean()))

    def _train(self, train: ImageSet, ctx: Context) -> list[nn.Module]:
        """The checkpoints of a training on the clean images, the oldest first."""
        surrogate = build_surrogate(self.surrogate, train.info, ctx)
        found: list[nn.Module] = []

        def keep(epoch: int, loss: float) -> None:
            if (epoch + 1) % (self.surrogate_epochs // self.checkpoints) == 0:
                found.append(copy.deepcopy(surrogate))

        train_on_clean(surrogate, train, self._recipe, ctx, keep)
        return found


class _InTurn(nn.Module):
    """Networks of which each call takes the next one, so that as many samples of a step as networks see all of them."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._order = cycle(range(len(members)))

    def forward(self, images_01: Tensor) -> Tensor:
        logits: Tensor = self.members[next(self._order)](images_01)
        return logits


def _targets(labels: Tensor, classes: int) -> Tensor:
    """The class each image moves to, half of the classes further; one further if there are two or three."""
    return torch.remainder(labels + classes // 2, classes)
