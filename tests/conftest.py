"""Shared fixtures: a tiny data set, contexts, a store."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from bench import data
from bench.api import Context, DataInfo, ImageSet

settings.register_profile("bench", deadline=None)
settings.load_profile("bench")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def tiny() -> data.Splits:
    """96 training and 32 test images of the embedded data set."""
    return data.load("shapes:train=96:test=32", Path())


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    """Contexts on the CPU with a scratch folder of their own."""
    count = 0

    def make(seed: int = 0, scope: str = "test") -> Context:
        nonlocal count
        count += 1
        scratch = tmp_path / f"scratch-{count}"
        scratch.mkdir()
        return Context(seed, torch.device("cpu"), scratch, scope)

    return make


@pytest.fixture
def random_set() -> Callable[..., ImageSet]:
    """Random images: `random_set(count, classes, shape)`."""

    def make(count: int = 40, classes: int = 4, shape: tuple[int, int, int] = (3, 8, 8)) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
        return ImageSet(images, torch.arange(count) % classes, DataInfo("random", classes, shape))

    return make
