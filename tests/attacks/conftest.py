"""Synthetic images with the statistics that matter here, and a real sample where it is present."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench.api import DataInfo, ImageSet

_REAL = Path(__file__).parents[2].parent / "shared/data/cifar10-5k.npz"


@pytest.fixture
def smooth_set() -> Callable[..., ImageSet]:
    """Smooth random images: `smooth_set(count, classes, shape, labels)`; labels cycle unless given."""

    def make(
        count: int = 60, classes: int = 4, shape: tuple[int, int, int] = (3, 32, 32), labels: Tensor | None = None
    ) -> ImageSet:
        generator = torch.Generator().manual_seed(7)
        coarse = torch.rand(count, shape[0], 5, 5, generator=generator)
        images = (interpolate(coarse, shape[1:], mode="bilinear") * 255).round().to(torch.uint8)
        labels = torch.arange(count) % classes if labels is None else labels
        return ImageSet(images, labels, DataInfo("smooth", classes, shape))

    return make


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
def learnable_set() -> Callable[..., ImageSet]:
    """Noisy gray images with a faint pattern of their class, at least 20 levels from black and white."""

    def make(
        count: int = 120,
        classes: int = 4,
        shape: tuple[int, int, int] = (3, 16, 16),
        labels: Tensor | None = None,
        pattern_levels: float = 6,
        noise_levels: float = 20,
    ) -> ImageSet:
        generator = torch.Generator().manual_seed(11)
        labels = torch.arange(count) % classes if labels is None else labels
        pattern = pattern_levels * torch.randn(classes, *shape, generator=generator).sign()
        images = 128 + noise_levels * torch.randn(count, *shape, generator=generator) + pattern[labels]
        return ImageSet(images.clamp(20, 235).round().to(torch.uint8), labels, DataInfo("learnable", classes, shape))

    return make


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
