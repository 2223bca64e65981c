"""`cifar10`, `cifar100`, `svhn` through torchvision, downloaded on demand below the data root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch

from bench.api import DataInfo, ImageSet
from bench.datasets.splits import Splits
from bench.datasets.subsets import Sizes, Subset
from bench.errors import UserError, of_the_machine
from bench.registry import datasets

_FILES = {
    "cifar10": ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-python.tar.gz", "cifar-100-python"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}
"""What torchvision reads below the data root, packed or unpacked."""


@datasets.register("cifar10", source="Krizhevsky 2009", deterministic=True)
@dataclass(frozen=True, kw_only=True)
class Cifar10(Subset):
    """CIFAR-10: 50,000 + 10,000 images, 32x32, 10 classes."""

    @property
    def sizes(self) -> Sizes:
        """Of the chosen part."""
        return self.part_of(Sizes(50_000, 10_000, 10, (3, 32, 32)))

    def load(self, root: Path) -> Splits:
        """Reads the official batches below `root`, downloading them if they are absent."""
        from torchvision.datasets import CIFAR10

        return self.cut(_both("cifar10", 10, root, "cifar-10-python.tar.gz", lambda t: _cifar(CIFAR10, root, t)))


@datasets.register("cifar100", source="Krizhevsky 2009", deterministic=True)
@dataclass(frozen=True, kw_only=True)
class Cifar100(Subset):
    """CIFAR-100: 50,000 + 10,000 images, 32x32, 100 classes."""

    @property
    def sizes(self) -> Sizes:
        """Of the chosen part."""
        return self.part_of(Sizes(50_000, 10_000, 100, (3, 32, 32)))

    def load(self, root: Path) -> Splits:
        """Reads the official batches below `root`, downloading them if they are absent."""
        from torchvision.datasets import CIFAR100

        return self.cut(_both("cifar100", 100, root, "cifar-100-python.tar.gz", lambda t: _cifar(CIFAR100, root, t)))


@datasets.register("svhn", source="Netzer et al. 2011", deterministic=True)
@dataclass(frozen=True, kw_only=True)
class Svhn(Subset):
    """SVHN, cropped digits: 73,257 + 26,032 images, 32x32, 10 classes."""

    @property
    def sizes(self) -> Sizes:
        """Of the chosen part."""
        return self.part_of(Sizes(73_257, 26_032, 10, (3, 32, 32)))

    def load(self, root: Path) -> Splits:
        """Reads the two `.mat` files below `root`, downloading them if they are absent."""
        from torchvision.datasets import SVHN

        def read(train: bool) -> tuple[Any, Any]:
            split = SVHN(str(root), split="train" if train else "test", download=True)
            return split.data, split.labels

        return self.cut(_both("svhn", 10, root, "train_32x32.mat and test_32x32.mat", read))


def _cifar(cls: Callable[..., Any], root: Path, train: bool) -> tuple[Any, Any]:
    split = cls(str(root), train=train, download=True)
    return split.data.transpose(0, 3, 1, 2), split.targets


def _both(name: str, num_classes: int, root: Path, file: str, read: Callable[[bool], tuple[Any, Any]]) -> Splits:
    try:
        root.mkdir(parents=True, exist_ok=True)
        train, test = read(True), read(False)
    except URLError as error:
        if present := [path.name for name in _FILES[name] if (path := root / name).exists()]:
            raise UserError(
                f"{name}: {' and '.join(present)} in {root} is incomplete or damaged, and cannot be downloaded again "
                f"({error.reason}); replace it, or name another folder with --data-root"
            ) from error
        raise UserError(
            f"{name}: {file} is not in {root} and cannot be downloaded ({error.reason}); "
            f"copy it there, or name the folder that has it with --data-root"
        ) from error
    except (RuntimeError, OSError, EOFError) as error:
        if line := of_the_machine(error):
            raise UserError(f"{name}: {line}") from error
        raise UserError(
            f"{name}: {file} in {root} is incomplete or damaged ({error}); delete it there and run again, "
            f"or name another folder with --data-root"
        ) from error
    info = DataInfo(name, num_classes, (3, 32, 32))
    return Splits(_image_set(*train, info), _image_set(*test, info))


def _image_set(images: Any, labels: Any, info: DataInfo) -> ImageSet:
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    return ImageSet(pixels, torch.as_tensor(np.asarray(labels), dtype=torch.int64), info)
