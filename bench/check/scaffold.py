"""`bench new`: a working plug-in file and its test, to be changed."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import UserError

_FILES = {
    "defense": '''"""{title}: what it does, in which paper."""

from dataclasses import dataclass

from torch import Tensor

from bench.api import Context, ImageSet, map_images
from bench.registry import defenses


@defenses.register("{name}", source="", deterministic=True)
@dataclass(frozen=True)
class {cls}:
    """Keep the top bits of every value. Replace this by your method, and say what it costs.

    Attributes:
        bits: bits kept, 1 to 8.
    """

    bits: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits must be in 1..8, got {{self.bits}}")

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """Same labels, count, order and shape; never changes `train`. Random numbers come from ctx.generator."""

        def keep_top_bits(images_u8: Tensor, rows: slice) -> Tensor:
            return images_u8 & (0xFF << (8 - self.bits) & 0xFF)

        with ctx.phase("apply"):
            return map_images(train, keep_top_bits, ctx)
''',
    "training-defense": '''"""{title}: what it does, in which paper."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import Context
from bench.registry import defenses


@defenses.register("{name}", source="")
@dataclass(frozen=True)
class {cls}:
    """Train on images with Gaussian noise. Replace this by your method, and say what it costs.

    Attributes:
        sigma: standard deviation of the noise on the [0, 1] scale.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 1:
            raise ValueError(f"sigma must be in (0, 1], got {{self.sigma}}")

    def batch_loss(self, model: nn.Module, images_01: Tensor, labels: Tensor, ctx: Context) -> Tensor:
        """A scalar to minimize. Random numbers come from ctx.stream: ctx.generator would repeat them every batch."""
        noise = torch.randn(images_01.shape, generator=ctx.stream("noise"), device=images_01.device)
        return functional.cross_entropy(model(images_01 + self.sigma * noise).float(), labels)
''',
    "attack": '''"""{title}: what it does, in which paper."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Budget, Context, ImageSet, PartialPoison, map_images
from bench.registry import attacks


@attacks.register("{name}", source="")
@dataclass(frozen=True, kw_only=True)
class {cls}(PartialPoison):
    """One random sign pattern per class. Replace this by your method.

    Attributes:
        eps: L-inf radius on the [0, 1] scale.
    """

    eps: float = 8 / 255

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eps <= 1:
            raise ValueError(f"eps must be in (0, 1], got {{self.eps}}")

    @property
    def budget(self) -> Budget:
        """Bound that the harness checks after rounding to 8 bits."""
        return Budget("linf", self.eps)

    def poison(self, train: ImageSet, ctx: Context) -> ImageSet:
        """Same labels, count, order and shape; never changes `train`. Random numbers come from ctx.generator."""
        shape = (train.info.num_classes, *train.info.shape)
        signs = torch.randint(0, 2, shape, generator=ctx.generator("signs"), dtype=torch.int16) * 2 - 1
        levels = int(255 * self.eps + 1e-6) * signs

        def add(images_u8: Tensor, rows: slice) -> Tensor:
            return (images_u8.short() + levels[train.labels[rows]]).clamp(0, 255).to(torch.uint8)

        return map_images(train, add, ctx)
''',
    "victim": '''"""{title}: a network and its recipe."""

from dataclasses import dataclass

from torch import nn

from bench.api import DataInfo, Recipe
from bench.registry import victims


@victims.register("{name}")
@dataclass(frozen=True)
class {cls}:
    """A two-layer network on the pixels. Replace this by yours.

    Attributes:
        width: hidden units.
        epochs: passes over the training set.
    """

    width: int = 128
    epochs: int = 10

    @property
    def recipe(self) -> Recipe:
        """Recipe of its training."""
        return Recipe(epochs=self.epochs, batch_size=50, lr=0.01, crop_padding=0, schedule="one-cycle")

    def build(self, info: DataInfo) -> nn.Module:
        """Float images in [0, 1] in, logits (B, K) out; normalize inside."""
        pixels = info.shape[0] * info.shape[1] * info.shape[2]
        return nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, self.width), nn.ReLU(), nn.Linear(self.width, info.num_classes)
        )
''',
}

_TEST = '''"""The contracts {name} must keep."""

from pathlib import Path

import pytest

from bench.check.component import quick_defaults, tiny
from bench.check.contracts import checks_of
from bench.registry import {kind}s, load_plugin
from bench.select.spec import select

load_plugin(Path(__file__).with_name("{module}.py"))
SELECTED = select({kind}s, "{name}", quick_defaults("{kind}s"))[0]


@pytest.mark.parametrize("check", checks_of("{kind}s", SELECTED), ids=lambda check: check.__name__)
def test_contract(check):
    check(SELECTED, tiny())
'''


def write_scaffold(kind: str, name: str, folder: Path, during_training: bool = False) -> list[Path]:
    """Writes `NAME.py` and `test_NAME.py` and returns their paths.

    Args:
        kind: `defense`, `attack` or `victim`.
        name: to register it under.
        folder: of the files.
        during_training: a defense that replaces the loss of a batch instead of purifying the training set.

    Raises:
        UserError: for a name that cannot be registered, files that exist, or another kind that acts during training.
    """
    if during_training and kind != "defense":
        raise UserError(f"--during-training is for a defense, not for: {kind}")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UserError(f"name {name!r}: use lower-case letters, digits and dashes, beginning with a letter")
    module = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in name.split("-"))
    words = {"name": name, "cls": cls, "title": name.replace("-", " ").capitalize(), "kind": kind, "module": module}
    files = {folder / f"{module}.py": _FILES["training-" * during_training + kind], folder / f"test_{module}.py": _TEST}
    present = [str(path) for path in files if path.exists()]
    if present:
        raise UserError(f"{', '.join(present)}: exists already; choose another name or --out")
    folder.mkdir(parents=True, exist_ok=True)
    for path, template in files.items():
        path.write_text(template.format(**words), encoding="utf-8")
    return list(files)
