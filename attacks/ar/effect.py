"""Effect of AR coefficients on a small network: how `attacks.ar.coefficients` chooses among sets."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attacks.ar import Ar
from bench.api import Context, ImageSet
from bench.errors import UserError
from bench.registry import datasets, victims
from bench.training import Batches, accuracy, build, cross_entropy, fit

_JUDGED = 10  # every tenth training image judges; with fewer steps than on the others, few networks learn a recurrence


def load_images(text: str) -> ImageSet:
    """The training images of `shapes`, of `npz:PATH` or of another registered data set.

    Raises:
        UserError: if the data set is unknown or cannot be read.
    """
    name, _, path = text.partition(":")
    kind = datasets[name].cls
    train: ImageSet = (kind(path=path) if path else kind()).load(Path("data")).train
    return train


def measure_effect(coefficients: Tensor, images: ImageSet, seeds: int, groups: int | None = None) -> Tensor:
    """Accuracy on clean images of a small network that was trained on poisoned ones, without a test image.

    The network is `small-cnn` with its demo recipe, unchanged. Every tenth image judges and the others are poisoned.
    A set for more classes than the images have is measured in groups: its first K classes, its next K, and so on; that
    tests every process, but not all of them at once.

    Args:
        coefficients: float64 (n K, 3, 3, 3).
        images: of K classes; their order is shuffled already, or classes alternate.
        seeds: trainings for each group; each draws the noise and the network anew.
        groups: measure only the first so many groups; None for all.

    Returns:
        (n, seeds), in 0..1.

    Raises:
        UserError: if the classes of the set are not a multiple of those of the images.
    """
    classes = images.info.num_classes
    if len(coefficients) % classes:
        raise UserError(
            f"ar: a set for {len(coefficients)} classes does not divide into groups of {classes}, the classes of "
            f"{images.info.name}; choose other --data"
        )
    measured = coefficients.split(classes)[:groups]
    return torch.tensor([[_accuracy(group, images, seed) for seed in range(seeds)] for group in measured])


def _accuracy(coefficients: Tensor, images: ImageSet, seed: int) -> float:
    rows = torch.arange(len(images))
    judged = rows % _JUDGED == 0
    victim = victims["small-cnn"].cls(preset="demo")
    with tempfile.TemporaryDirectory() as scratch:
        ctx = Context(seed, torch.device("cpu"), Path(scratch), scope="ar-effect")
        file = Path(scratch) / "ar.npy"
        np.save(file, coefficients.numpy())
        train = Ar(coefficients=str(file)).poison(images.take(rows[~judged]), ctx)
        recipe = victim.recipe
        model = build(lambda: victim.build(images.info), ctx)
        fit(model, Batches.of_recipe(train, recipe, ctx), cross_entropy(model), recipe, ctx)
    return accuracy(model, images.take(rows[judged]), ctx.device)
