"""The sizes at which everything is measured: a GPU's, and a toy one that shows on any CPU that the script works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.select import presets


@dataclass(frozen=True)
class Scale:
    """Sizes of a measurement.

    Attributes:
        name: `full` or `toy`.
        images: random images behind a rate.
        epochs: counted passes over them in a rate of plain training, and in one stage of D-VAE.
        batch_size: of the paper's recipes.
        pgd_batch: images attacked at once.
        victim: selection.
        network: of D-VAE, in a rate.
        data: data set of the accuracies, unless another is given.
        presets: of the accuracies.
        groups: attacks of the accuracies, the most useful figures for a card's minute first: those that craft in
            seconds (`none` is the clean set), those that train a surrogate, and REM, which takes longest.
        at_preset: whose adversarial training is measured too; that of `paper` takes longer than a slice.
        parameters: on top of a preset's, as in a settings file.
    """

    name: str
    images: int
    epochs: int
    batch_size: int
    pgd_batch: int
    victim: str
    network: str
    data: str
    presets: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    at_preset: str
    parameters: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def attacks(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(attack for group in self.groups for attack in group)


# The poisons of both presets are crafted with the short settings of `fast`: the papers' own take REM an hour, and
# `fast` is to be compared with `paper` on the same poison.
FULL = Scale(
    name="full",
    images=50_000,
    epochs=3,
    batch_size=128,
    pgd_batch=2048,
    victim="resnet18",
    network="cifar",
    data="cifar10",
    presets=("paper", "fast"),
    groups=(("none", "lsp", "ops", "ar"), ("em", "tap"), ("rem",)),
    at_preset="fast",
    parameters={"attacks": presets.read("fast")["parameters"]["attacks"]},
)

TOY = Scale(
    name="toy",
    images=64,
    epochs=1,
    batch_size=16,
    pgd_batch=16,
    victim="small-cnn:epochs=1",
    network="tiny",
    data="shapes:train=128:test=64",
    presets=("demo",),
    groups=FULL.groups,
    at_preset="demo",
    parameters={
        "attacks": {
            "em": {"max_rounds": 1, "steps": 1},
            "rem": {"train_steps": 2},
            "tap": {"surrogate_epochs": 1, "steps": 1},
        },
        "defenses": {"dvae": {"epochs": 1}},
    },
)
