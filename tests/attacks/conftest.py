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
