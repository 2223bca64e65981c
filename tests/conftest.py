"""Shared fixtures: small data sets, contexts, a watch on reads of the device."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import Context, DataInfo, ImageSet
from bench.datasets import loading
from bench.datasets.splits import Splits
from bench.registry import BY_KIND

settings.register_profile("bench", deadline=None)
settings.load_profile("bench")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads()))


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """Tests that send SIGHUP would wait for ever under nohup, which ignores it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def forgotten_plugins() -> Iterator[None]:
    """Plug-in files that are loaded inside are not registered outside."""
    before = set(sys.modules)
    yield
    for module in [m for m in sys.modules if m.startswith("bench_plugin_") and m not in before]:
        del sys.modules[module]
        for registry in BY_KIND.values():
            for entry in [e for e in registry._entries.values() if e.cls.__module__ == module]:
                del registry._entries[entry.name]


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    """A plug-in file that a test loads is not registered in the next test."""
    with forgotten_plugins():
        yield


@pytest.fixture(scope="session")
def tiny() -> Splits:
    """96 training and 32 test images of the embedded data set."""
    return loading.load("shapes:train=96:test=32", Path())


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


class _NoReading(TorchDispatchMode):
    """Fails where a GPU would have to be waited for: `.item()`, `float(tensor)`, `nonzero`, a mask as an index."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        reads = masked or name in ("_local_scalar_dense", "nonzero", "masked_select")
        assert not reads, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self._methods = _NoCopying()
        self._methods.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._methods.__exit__(*error)


class _NoCopying(TorchFunctionMode):
    """Fails where a whole tensor is copied to the host."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        assert name not in ("tolist", "cpu", "numpy"), f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_reading() -> type[TorchDispatchMode]:
    """A context in which code that runs every batch must not read a tensor's value: `with no_reading(): ...`."""
    return _NoReading
