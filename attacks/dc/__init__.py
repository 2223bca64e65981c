"""DC: DeepConfuse (Feng, Cai, Zhou, "Learning to Confuse: Generating Training Time Adversarial Data with Auto-Encoder",
NeurIPS 2019, arXiv:1905.09027).

A network makes the noise of an image. It is trained so that a classifier that takes a step on the noisy images errs
more on the clean ones, along the classifier's whole training: algorithm 2 of the paper, which keeps no trajectory.

Deviations from the paper:
- the radius is 8/255, as the papers that compare attacks state it; the authors' is 0.032;
- it does not print how long a classifier is trained, nor the sizes of the U-Net: 20 epochs and a width of 64, as in the
  authors' code (`kingfengji/DeepConfuse`);
- its classifier has batch normalization, which the paper does not mention and the authors' code has everywhere.

Deviations from that code:
- networks, rounds and batches are the paper's; the code trains a VGG-11 in 1,000 rounds with batches of 256;
- the last network that makes noise is taken; the code keeps the one whose classifier has the lowest accuracy on the
  test images, which an attack here never sees;
- a last batch of a single image is left out: it has no batch statistics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from attacks.dc.networks import NoiseGenerator, five_convolutions
from bench.api import STEP_PASSES, Budget, Context, DataInfo, ImageSet, PartialPoison, Recipe, Work, perturb
from bench.registry import attacks
from bench.training import Batch, Batches, autocast, build, make_optimizer, resident
from bench.training.surrogates import (
    check_batch_size,
    check_classes,
    check_eps,
    check_finite,
    check_positive,
    chunks,
    load,
    report,
    surrogate_layers,
)


@attacks.register("dc", source="arXiv:1905.09027")
@dataclass(frozen=True)
class Dc(PartialPoison):
    """Noise that a network makes of each image; short crafting (preset `demo`) does not take on real images.

    The network is trained against the trainings of classifiers. On 2,000 images of CIFAR-10 the undefended victim had
    49.9 %, as on clean images (docs/measurements.md). The default is the paper's length, which nobody has run here.

    Costs `rounds` trainings of a small classifier, and at each of their steps a second-order gradient and a step of the
    network that makes the noise: no other attack here takes as long. That network never sees the labels, so it has to
    find the class in the image.

    Logs `clean_losses` (of every round, the classifier's mean loss on clean images after a step on noisy ones) and the
    accuracy of the last classifier on clean and on poisoned images.

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
        rounds: classifiers that are trained, one after the other, each from a new start.
        epochs: of each.
        batch_size: images a step.
        lr: of the classifier, by plain gradient descent.
        generator_lr: of the network that makes the noise, by Adam.
        surrogate: the classifier: `five-conv`, the paper's, or `s-net` (for a CPU).
        width: channels of the first level of the network that makes the noise; each level has twice as many.
    """

    eps: float = 8 / 255
    rounds: int = 500
    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.01
    generator_lr: float = 1e-4
    surrogate: Literal["five-conv", "s-net"] = "five-conv"
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self.eps)
        check_batch_size(self.batch_size)
        check_positive(
            rounds=self.rounds,
            epochs=self.epochs,
            lr=self.lr,
            generator_lr=self.generator_lr,
            width=self.width,
        )
        if self.surrogate not in ("five-conv", "s-net"):
            raise ValueError(f"surrogate must be five-conv or s-net, got {self.surrogate!r}")

    @property
    def budget(self) -> Budget:
        """The L-inf ball of radius eps."""
        return Budget("linf", self.eps)

    def check_fit(self, train: ImageSet) -> None:
        """Raises UserError if only one class is crafted from."""
        check_classes(train)

    def work(self, info: DataInfo, images: int) -> Work:
        """Passes through the network that makes the noise; those through the small classifier are not counted."""
        passes = self.rounds * self.epochs * (STEP_PASSES + 1)
        return Work(lambda: NoiseGenerator(info.shape[0], self.width), float(passes))

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """The training set with the noise of the trained network."""
        self.check_fit(train)
        near = resident(train, ctx.device)
        with ctx.phase("craft"):
            generator, surrogate, losses = self._train(near, ctx)
        with ctx.phase("perturb"):
            poisoned = perturb(train, lambda rows: self._noise(generator, near, rows, ctx), ctx, linf=self.eps)
        ctx.log("clean_losses", losses)
        with ctx.phase("report"):
            report(surrogate, train, poisoned, ctx)
        return poisoned

    def _train(self, train: ImageSet, ctx: Context) -> tuple[nn.Module, nn.Module, list[float]]:
        """The network that makes the noise, the last classifier, and the clean loss of every round."""
        generator = build(lambda: NoiseGenerator(train.info.shape[0], self.width), ctx, "generator-init").eval()
        pupil = copy.deepcopy(generator).train()  # learns while the trajectory is that of the other
        adam = make_optimizer([{"params": list(pupil.parameters())}], _plain("adam", self.generator_lr))
        lonely = len(train) % self.batch_size == 1
        batches = Batches(train, ctx.device, self.batch_size, ctx.generator("batch-order"), drop_last=lonely)
        losses: list[float] = []
        for number in range(self.rounds):
            surrogate = build(lambda: self._classifier(train.info), ctx, f"model-init-{number}").train()
            sgd = make_optimizer([{"params": list(surrogate.parameters())}], _plain("sgd", self.lr))
            total = torch.zeros((), device=ctx.device)
            for epoch in range(self.epochs):
                for batch in batches:
                    total += ascend(pupil, adam, surrogate, batch, self.eps, self.lr)
                    with torch.no_grad():
                        noisy = add_noise(generator, batch.images_01, self.eps)
                    learn(surrogate, sgd, noisy, batch.labels)
                done = number * self.epochs + epoch + 1
                ctx.progress(done, self.rounds * self.epochs, f"round {number + 1}")
            losses.append(float(total) / (self.epochs * len(batches)))
            check_finite(losses[-1], f"in round {number + 1}", "lower lr or generator_lr")
            generator.load_state_dict(pupil.state_dict())
        return generator, surrogate, losses

    def _classifier(self, info: DataInfo) -> nn.Module:
        if self.surrogate == "s-net":
            return surrogate_layers(self.surrogate, info)
        return five_convolutions(info.shape[0], info.num_classes)

    @torch.no_grad()
    def _noise(self, generator: nn.Module, train: ImageSet, rows: slice, ctx: Context) -> Tensor:
        parts = []
        for part in chunks(rows.stop - rows.start, train.info.shape, ctx.device):
            images, _ = load(train, slice(rows.start + part.start, rows.start + part.stop), ctx.device)
            with autocast(ctx.device):
                parts.append(self.eps * generator(images).float().cpu())
        return torch.cat(parts)


def _plain(optimizer: str, lr: float) -> Recipe:
    return Recipe(1, optimizer=optimizer, lr=lr, momentum=0, weight_decay=0, schedule="constant", clip_grad_norm=None)  # type: ignore[arg-type]


def add_noise(generator: Callable[[Tensor], Tensor], images_01: Tensor, eps: float) -> Tensor:
    """Images in [0, 1] with the noise that the network makes of them, clipped to [0, 1]."""
    with autocast(images_01.device):
        noise = generator(images_01).to(images_01.dtype)
    return (images_01 + eps * noise).clamp(0, 1)


def learn(surrogate: nn.Module, optimizer: torch.optim.Optimizer, images_01: Tensor, labels: Tensor) -> None:
    """One step of the classifier's training, in train mode."""
    with autocast(images_01.device):
        logits = surrogate(images_01)
    optimizer.zero_grad(set_to_none=True)
    cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def ascend(
    generator: nn.Module, optimizer: torch.optim.Optimizer, surrogate: nn.Module, batch: Batch, eps: float, lr: float
) -> Tensor:
    """One step of the network that makes the noise: up the clean loss of a classifier that took a step on noisy images.

    Args:
        generator: in train mode.
        optimizer: of its parameters.
        surrogate: the classifier, in train mode; neither its weights nor its running statistics change.
        batch: clean images.
        eps: radius of the noise.
        lr: of the classifier's step.

    Returns:
        The clean loss after the classifier's step, on the device.
    """
    weights = dict(surrogate.named_parameters())
    statistics = {name: buffer.clone() for name, buffer in surrogate.named_buffers()}

    def loss_of(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        with autocast(images.device):
            logits = functional_call(surrogate, (parameters, statistics), (images,))
        return cross_entropy(logits.to(images.dtype), batch.labels)

    loss = loss_of(add_noise(generator, batch.images_01, eps), weights)
    slopes = torch.autograd.grad(loss, tuple(weights.values()), create_graph=True)
    stepped = {name: weight - lr * slope for (name, weight), slope in zip(weights.items(), slopes, strict=True)}
    clean = loss_of(batch.images_01, stepped)
    parameters = tuple(generator.parameters())
    for parameter, slope in zip(parameters, torch.autograd.grad(-clean, parameters), strict=True):
        parameter.grad = slope
    optimizer.step()
    return clean.detach()
