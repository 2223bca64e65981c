"""PIL: perturbation-induced linearization (Liu et al., ICLR 2026, arXiv:2601.19967).

The surrogate is a linear model without bias, so an image minus its noise has the logits of the image minus those of the
noise. The noise is made to be its own class to that model, and the image without it to be of no class.

Deviations, because the paper's text does not say it:
- with `poison_rate` < 1 the surrogate sees all images (`craft_on=subset`: those to be poisoned);
- the learning rate is changed once an epoch;
- images are rounded to 8 bits, to nearest.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

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
from bench.training import Batches, build, cross_entropy, fit
from bench.training.pgd import random_start
from bench.training.surrogates import check_classes, check_eps, check_positive, chunks, load, report


@attacks.register("pil", source="arXiv:2601.19967")
@dataclass(frozen=True)
class Pil(PartialPoison):
    """Noise that a linear model takes for the class, while the image loses its class to that model; minutes on a CPU.

    Costs the training of a linear model and 30 products with its weights per image.

    Logs `surrogate_clean_accuracy`, `surrogate_poison_accuracy`, `noise_accuracy` (share of images whose noise alone is
    classified as their label) and `poison_entropy` (mean entropy of the surrogate's answer on poisoned images, as a
    share of that of the uniform answer).

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
        steps: signed gradient steps.
        step_size: of one step; None is eps / 10.
        balance: weight of the noise's cross-entropy; the rest is that of the divergence of the image without the noise
            from the uniform answer.
        surrogate_epochs: training of the linear model.
        batch_size: of that training.
        lr: of that training, at its highest; it ends at 0 (cosine).
        craft_on: `all`: with poison_rate < 1 the surrogate sees all images; or `subset`.
    """

    eps: float = 8 / 255
    steps: int = 30
    step_size: float | None = None
    balance: float = 0.9
    surrogate_epochs: int = 30
    batch_size: int = 512
    lr: float = 0.003
    craft_on: Literal["subset", "all"] = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self.eps)
        check_positive(
            steps=self.steps,
            step_size=self.step_size,
            surrogate_epochs=self.surrogate_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
        )
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance is a weight in [0, 1], got {self.balance}; the paper uses 0.9")

    @property
    def budget(self) -> Budget:
        """The L-inf ball of radius eps."""
        return Budget("linf", self.eps)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if only one class is crafted from."""
        rows = self.rows_of(train.labels, train.info.num_classes)
        check_classes(train if self.craft_on == "all" else train.take(rows))

    def work(self, info: DataInfo, images: int) -> Work:
        """The surrogate's training, and every step."""
        return Work(lambda: _linear(info), self.surrogate_epochs * STEP_PASSES + self.steps * GRADIENT_PASSES)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        check_classes(train)
        surrogate = build(lambda: _linear(train.info), ctx)
        batches = Batches(train, ctx.device, self.batch_size, ctx.generator("batch-order"))
        fit(surrogate, batches, cross_entropy(surrogate), self._recipe, ctx, phase="surrogate")
        (weight,) = (parameter.detach().float() for parameter in surrogate.parameters())
        starts = ctx.generator("delta-init")
        found = torch.zeros(2, dtype=torch.float64)  # images whose noise is of their class, and entropies

        def noise(rows: slice) -> Tensor:
            parts = []
            for part in chunks(rows.stop - rows.start, train.info.shape, ctx.device):
                images, labels = load(train, slice(rows.start + part.start, rows.start + part.stop), ctx.device)
                delta = self._delta(images, labels, weight, random_start(images.cpu(), self.budget, starts))
                parts.append(delta.view_as(images).cpu())
                found.add_(_judge(images, labels, delta, weight).cpu())
            # The published image is the clean one minus the noise.
            return -torch.cat(parts)

        with ctx.phase("craft"):
            poisoned = perturb(train, noise, ctx, linf=self.eps)
        ctx.log("noise_accuracy", float(found[0]) / len(train))
        ctx.log("poison_entropy", float(found[1]) / len(train) / math.log(train.info.num_classes))
        with ctx.phase("report"):
            report(surrogate, train, poisoned, ctx)
        return poisoned

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            epochs=self.surrogate_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=0.0,
            schedule="cosine-epoch",
            clip_grad_norm=None,
        )

    def _delta(self, images_01: Tensor, labels: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        """Noise (n, C*H*W) within the ball; the images without it may leave [0, 1], which is clipped at the end."""
        of_images = images_01.flatten(1) @ weight.T
        wanted = one_hot(labels, len(weight)).float()
        delta = start.to(weight.device).flatten(1)
        size = self.eps / 10 if self.step_size is None else self.step_size
        for _ in range(self.steps):
            delta = delta - size * self._gradient(delta, of_images, wanted, weight).sign()
            delta = delta.clamp(-self.eps, self.eps)
        return delta

    def _gradient(self, delta: Tensor, of_images: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """Gradient of balance * CE(f(delta), y) + (1 - balance) * KL(f(x - delta) || uniform), summed over images."""
        of_noise = delta @ weight.T
        answer, log_answer = (of_images - of_noise).softmax(1), (of_images - of_noise).log_softmax(1)
        towards_class = of_noise.softmax(1) - wanted
        from_uniform = answer * (log_answer - (answer * log_answer).sum(1, keepdim=True))
        return (self.balance * towards_class - (1 - self.balance) * from_uniform) @ weight


def _linear(info: DataInfo) -> nn.Sequential:
    """A linear model on the pixels in [0, 1], without bias."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(info.shape), info.num_classes, bias=False))


def _judge(images_01: Tensor, labels: Tensor, delta: Tensor, weight: Tensor) -> Tensor:
    """Number of images whose noise is classified as their label, and the sum of entropies of the images without it."""
    of_noise = delta @ weight.T
    hits = (of_noise.argmax(1) == labels).sum()
    answer = (images_01.flatten(1) @ weight.T - of_noise).log_softmax(1)
    return torch.stack([hits.double(), -(answer.exp() * answer).sum().double()])
