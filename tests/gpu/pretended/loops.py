"""What a step of every training loop launches, copies and waits for, at the papers' batch of 128 and 32x32 pixels.

    python -m tests.gpu.pretended python -m tests.gpu.pretended.loops --renew

writes `tests/gpu/counts.toml`; read the difference before you commit it. Each loop runs with two numbers of steps, and
the difference is divided by the steps: what a loop does once (rehearsal, random numbers of an epoch, the mean of its
losses) does not count.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.api import Context, DataInfo, ImageSet
from bench.api.engine import Engine
from bench.registry import BY_KIND
from bench.select.spec import select
from bench.training import Batches, build, cross_entropy, fit, predict
from bench.training.surrogates.networks import build_surrogate
from tests.gpu.pretended import watch

TABLE = Path(__file__).parents[1] / "counts.toml"
CUDA = torch.device("cuda")
INFO = DataInfo("random", 10, (3, 32, 32))
BATCH = 128
FEW, MANY = 2, 4

# Depend on PyTorch's version: compared only for the one that wrote the table.
OF_VERSION = ("launches", "convolutions", "matrix products", "other library calls", "memory sets")
# Depend on this code alone.
OF_CODE = ("copies to the device", "copies to the host", "copies on the device", "pageable copies", "waits")


def _images(batches: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH * batches, *INFO.shape), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(len(images)) % INFO.num_classes, INFO)


def _component(kind: str, text: str) -> Any:
    return select(BY_KIND[kind], text)[0].component


def _victim(steps: int, ctx: Context, defense: Any = None) -> None:
    victim, train = _component("victims", "resnet18"), _images(steps)
    recipe = replace(victim.recipe, epochs=1)
    model = build(lambda: victim.build(INFO), ctx)
    batches = Batches(
        train, CUDA, BATCH, ctx.generator("order"), crop_padding=recipe.crop_padding, flip=recipe.flip, drop_last=True
    )
    loss = cross_entropy(model)
    if defense is not None:
        loss = lambda batch: defense.batch_loss(model, batch.images_01, batch.labels, ctx)  # noqa: E731
    fit(model, batches, loss, recipe, ctx)


def _fed(steps: int, ctx: Context) -> None:
    os.environ["PRETENDED_FREE_BYTES"] = "10000"
    try:
        _victim(steps, ctx)
    finally:
        del os.environ["PRETENDED_FREE_BYTES"]


def _at(steps: int, ctx: Context) -> None:
    _victim(steps, ctx, _component("defenses", "at"))


def _dvae(stage: str) -> Callable[[int, Context], None]:
    def train(steps: int, ctx: Context) -> None:
        defense = _component("defenses", "dvae:network=cifar:epochs=1:warmup_epochs=0")
        defense._train(_images(steps), ctx, stage, getattr(defense, f"{stage}_cap"))

    return train


def _em_training(steps: int, ctx: Context) -> None:
    _crafted(f"em:max_rounds=1:steps=1:batch_size={BATCH}:batches_per_round={steps}", MANY, ctx)


def _em_gradient(steps: int, ctx: Context) -> None:
    _crafted(f"em:max_rounds=1:batch_size={BATCH}:batches_per_round=1:steps={steps}", 1, ctx)


def _rem(steps: int, ctx: Context) -> None:
    _crafted(f"rem:train_steps={steps}:steps=2:attacker_steps=2:samples=1", MANY, ctx)


def _tap_training(steps: int, ctx: Context) -> None:
    attack, half = _component("attacks", "tap:surrogate_epochs=1"), torch.full(INFO.shape[:1], 0.5)
    surrogate = build_surrogate(attack.surrogate, INFO, ctx, mean=half, std=half, kaiming=True)
    attack._train(surrogate, _images(steps), half.to(CUDA), 4.0, ctx)


def _tap_gradient(steps: int, ctx: Context) -> None:
    _crafted(f"tap:surrogate_epochs=1:restarts=1:steps={steps}", 1, ctx)


def _crafted(text: str, batches: int, ctx: Context) -> None:
    _component("attacks", text).poison(_images(batches), ctx)


def _evaluation(steps: int, ctx: Context) -> None:
    victim = _component("victims", "resnet18")
    predict(build(lambda: victim.build(INFO), ctx), _images(steps).images.to(CUDA), CUDA, BATCH)


LOOPS: dict[str, tuple[str, Callable[[int, Context], None]]] = {
    "victim": ("training step of ResNet-18", _victim),
    "victim-fed": ("the same, the images in host memory; the wait is the feeding thread's, for its own buffer", _fed),
    "dvae-stage1": ("training step of D-VAE, stage 1", _dvae("stage1")),
    "dvae-stage2": ("training step of D-VAE, stage 2", _dvae("stage2")),
    "at": ("training step of ResNet-18 under at, ten steps of PGD", _at),
    "em-training": ("training step of EM's surrogate", _em_training),
    "em-gradient": ("gradient step of EM's noise on one chunk of images", _em_gradient),
    "rem": ("training step of REM with 2 steps of the defender and 2 of the attacker, one sample", _rem),
    "tap-training": ("training step of TAP's surrogate", _tap_training),
    "tap-gradient": ("gradient step of TAP's noise on one chunk of images, with its random moves", _tap_gradient),
    "evaluation": ("predictions for a batch, ResNet-18", _evaluation),
}


def measure(name: str) -> dict[str, float]:
    """Counts of one step.

    Raises:
        AssertionError: if the steps of a loop are not alike.
    """
    _, work = LOOPS[name]
    totals = []
    for steps in (FEW, FEW, MANY):  # the first one loads what is loaded once a process
        with _context() as ctx:
            watch.reset()
            work(steps, ctx)
            totals.append(watch.counts())
    found = {}
    for what in (*OF_VERSION, *OF_CODE):
        more = totals[2].get(what, 0) - totals[1].get(what, 0)
        assert more % (MANY - FEW) == 0, f"{name}: {more} more {what} in {MANY - FEW} more steps"
        found[what] = more // (MANY - FEW)
    return found


@contextmanager
def _context() -> Iterator[Context]:
    engine = Engine.choose("cuda")
    with TemporaryDirectory() as scratch, engine.applied():
        yield Context(0, CUDA, Path(scratch), "loop", engine=engine)


def write(table: dict[str, dict[str, int]]) -> None:
    """The table as TOML."""
    lines = [
        "# A step of every training loop on a pretended GPU, bfloat16, batch 128. Renew it, and read the difference:",
        "# python -m tests.gpu.pretended python -m tests.gpu.pretended.loops --renew",
        f'torch = "{torch.__version__}"',
    ]
    for name, counts in table.items():
        lines += ["", f"[{name}]  # {LOOPS[name][0]}", *(f'"{what}" = {many}' for what, many in counts.items())]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    measured = {name: measure(name) for name in LOOPS}
    if sys.argv[1:] == ["--renew"]:
        write(measured)
    print(json.dumps({"torch": torch.__version__, "loops": measured}))
