"""NTGA: neural tangent generalization attack (Yuan, Wu, ICML 2021).

The images of a block are moved so that an infinitely wide network which is trained on the block errs on other, clean
images. Such a network's outputs have a closed form (`attacks.ntga.kernel`), and so has the gradient: no surrogate is
trained.

Deviations from the authors' code (`lionelmessi6410/ntga`):
- the fully connected surrogate alone. The data set that the authors release as their best for CIFAR-10, and that other
  papers test, is crafted on a convolutional one, whose kernel takes far more time: import it with `from-file`;
- every step starts where the last one ended; theirs starts at the clean images each time and moves by the whole radius,
  which amounts to one signed step;
- the clean images on which the network shall err are of the same set, outside of the block, and get their noise in a
  block of their own; theirs are 10,000 images that are not published;
- blocks cover all images; theirs drops an incomplete last one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from attacks.ntga.kernel import Trained
from bench.api import Budget, Context, DataInfo, ImageSet, PartialPoison, Work, perturb
from bench.registry import attacks
from bench.training import to_float
from bench.training.surrogates import check_classes, check_eps, check_positive


@attacks.register("ntga", source="Yuan and Wu, ICML 2021")
@dataclass(frozen=True)
class Ntga(PartialPoison):
    """Noise that misleads an infinitely wide network; short crafting (preset `demo`) does not take on real images.

    That network is trained on the noisy images and errs on clean ones; no surrogate is trained. On 5,085 images of
    CIFAR-10 the undefended victim had 57.5 %, and 58.1 % on clean images (docs/measurements.md). Full blocks and
    convolutional kernels were not tried. `from-file` imports the data set that the authors release.

    Costs a kernel between a block and the clean images, and a matrix exponential, for each block and step, in float64.

    Logs `validation_loss_before` and `validation_loss_after`: the network's mean loss on the clean images, trained on
    clean blocks and on noisy ones.

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
        steps: signed gradient steps.
        step_size: of one step; None is 1.1 * eps / steps.
        time: of the network's training; the authors' best for CIFAR-10 is 4096.
        block: images that the network is trained on together; the work grows with its cube.
        validation: clean images, outside of the block, on which the network shall err.
        depth: layers of the network.
    """

    eps: float = 8 / 255
    steps: int = 10
    step_size: float | None = None
    time: float = 4096.0
    block: int = 512
    validation: int = 10_000
    depth: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self.eps)
        check_positive(
            steps=self.steps, step_size=self.step_size, time=self.time, validation=self.validation, depth=self.depth
        )
        if self.block < 2:
            raise ValueError(f"block must be at least 2 images, got {self.block}; the authors use 512")

    @property
    def budget(self) -> Budget:
        """The L-inf ball of radius eps."""
        return Budget("linf", self.eps)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if only one class is crafted from."""
        check_classes(train)

    def work(self, info: DataInfo, images: int) -> Work | None:
        """Unknown: kernels are no passes through a network."""
        return None

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        self.check_fit(train)
        order = torch.randperm(len(train), generator=ctx.generator("blocks"))
        noise = torch.empty(train.images.shape)
        losses = torch.zeros(2, dtype=torch.float64)
        with ctx.phase("craft"):
            for start in range(0, len(train), self.block):
                rows = order[start : start + self.block]
                others = order.roll(-start - len(rows))[: len(train) - len(rows)][: self.validation]
                noise[rows], found = self._craft(train.take(rows), train.take(others if len(others) else rows), ctx)
                losses += found * len(rows) / len(train)
                ctx.progress(min(start + self.block, len(train)), len(train))
        ctx.log("validation_loss_before", float(losses[0]))
        ctx.log("validation_loss_after", float(losses[1]))
        with ctx.phase("perturb"):
            return perturb(train, lambda rows: noise[rows], ctx, linf=self.eps)

    def _craft(self, block: ImageSet, others: ImageSet, ctx: Context) -> tuple[Tensor, Tensor]:
        """Noise of the images of a block, and the loss on the others before and after."""
        network = Trained(self.depth, self.time)
        clean, seen = (_flat(part, ctx) for part in (block, others))
        wanted = one_hot(block.labels, block.info.num_classes).to(clean)
        labels = others.labels.to(ctx.device)
        size = 1.1 * self.eps / self.steps if self.step_size is None else self.step_size
        delta, losses = torch.zeros_like(clean), []
        for step in range(self.steps + 1):
            delta.requires_grad_(step < self.steps)
            loss = cross_entropy(network.predict(clean + delta, wanted, seen), labels)
            losses.append(loss.detach())
            if step == self.steps:
                break
            (gradient,) = torch.autograd.grad(loss, delta)
            delta = (delta.detach() + size * gradient.sign()).clamp(-self.eps, self.eps)
            delta = (clean + delta).clamp(0, 1) - clean
        return delta.view(block.images.shape).float().cpu(), torch.stack([losses[0], losses[-1]]).cpu()


def _flat(images: ImageSet, ctx: Context) -> Tensor:
    return to_float(images.images.to(ctx.device)).double().flatten(1)
