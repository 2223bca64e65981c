"""Synthetic images with the statistics that matter here, and a real sample where it is present."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.api import DataInfo, ImageSet

_REAL = Path(__file__).parents[2].parent / "shared/data/cifar10-5k.npz"


@pytest.fixture(scope="session")
def real() -> ImageSet:
    """500 CIFAR-10 images, 50 a class."""
    if not _REAL.is_file():
        pytest.skip("needs the lossless CIFAR-10 subset beside the checkout (shared/data)")
    with np.load(_REAL) as archive:
        images, labels = torch.from_numpy(archive["x_train"]), torch.from_numpy(archive["y_train"])
    rows = torch.cat([(labels == label).nonzero().flatten()[:50] for label in range(10)])
    images = images[rows].permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, labels[rows], DataInfo("cifar10-sample", 10, (3, 32, 32)))


@pytest.fixture
def separability() -> Callable[[ImageSet, ImageSet], float]:
    """Share of held-out perturbations whose class a ridge classifier fitted on the first half finds."""

    def measure(poisoned: ImageSet, clean: ImageSet) -> float:
        noise = (poisoned.images.double() - clean.images.double()).flatten(1)
        noise = torch.cat([noise / 8, torch.ones(len(noise), 1, dtype=torch.float64)], dim=1)
        half = len(noise) // 2
        kernel = noise[:half] @ noise[:half].T + torch.eye(half, dtype=torch.float64)
        wanted = torch.nn.functional.one_hot(clean.labels[:half], clean.info.num_classes).double() - 0.5
        scores = noise[half:] @ noise[:half].T @ torch.linalg.solve(kernel, wanted)
        return float((scores.argmax(1) == clean.labels[half:]).double().mean())

    return measure
