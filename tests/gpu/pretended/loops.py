"""What a step of every training loop launches, copies and waits for, at the papers' batch of 128 and 32x32 pixels.

    python -m tests.gpu.pretended python -m tests.gpu.pretended.loops --renew

writes `tests/gpu/counts.toml`; read the difference before you commit it. Each loop runs with two numbers of steps, and
the difference is divided by the steps: what a loop does once (rehearsal, random numbers of an epoch, the mean of its
losses) does not count. Loops whose steps `--engine graph` replays are counted in both ways: NAME-replayed has one
launch of a graph, what is in the graph, and what is left outside of it.
"""

from __future__ import annotations

import json
import os
import subprocess
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
from bench.training import Batches, build, cross_entropy, fit, predict, resident
from bench.training.surrogates import Passes
from bench.training.surrogates.networks import build_surrogate
from tests.gpu.pretended import build as build_library
from tests.gpu.pretended import watch

TABLE = Path(__file__).parents[1] / "counts.toml"
CUDA = torch.device("cuda")
INFO = DataInfo("random", 10, (3, 32, 32))
BATCH = 128
FEW, MANY = 2, 4  # the first step of a replayed training is plain, the second one is captured and replayed

# Depend on PyTorch's version: compared only for the one that wrote the table.
OF_VERSION = ("launches", "convolutions", "matrix products", "other library calls", "memory sets")
# Depend on this code alone.
OF_CODE = ("copies to the device", "copies to the host", "copies on the device", "pageable copies", "waits")
INSIDE = " inside graphs"
OUTSIDE = "work outside the capture"
COPIES_INSIDE = tuple(what + INSIDE for what in OF_CODE[:3])


def images(batches: int) -> ImageSet:
    """Random ones, so many batches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH * batches, *INFO.shape), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(len(images)) % INFO.num_classes, INFO)


def component(kind: str, text: str) -> Any:
    """The selected one, with the papers' settings where the text says nothing."""
    return select(BY_KIND[kind], text)[0].component


def of_victim(steps: int, ctx: Context, defense: Any = None, text: str = "resnet18") -> None:
    victim, train = component("victims", text), images(steps)
    recipe = replace(victim.recipe, epochs=1, warmup_epochs=0)
    model = build(lambda: victim.build(INFO), ctx)
    batches = Batches.of_recipe(train, replace(recipe, batch_size=BATCH, drop_last=True), ctx)
    loss = cross_entropy(model)
    if defense is not None:
        loss = lambda batch: defense.batch_loss(model, batch.images_01, batch.labels, ctx)  # noqa: E731
    fit(model, batches, loss, recipe, ctx, replayable=defense is None or defense.replayable)


def _fed(steps: int, ctx: Context) -> None:
    os.environ["PRETENDED_FREE_BYTES"] = "10000"
    try:
        of_victim(steps, ctx)
    finally:
        del os.environ["PRETENDED_FREE_BYTES"]


def _at(steps: int, ctx: Context) -> None:
    of_victim(steps, ctx, component("defenses", "at"))


def of_dvae(stage: str) -> Callable[[int, Context], None]:
    def train(steps: int, ctx: Context) -> None:
        defense = component("defenses", "dvae:network=cifar:epochs=1:warmup_epochs=0")
        defense._train(images(steps), ctx, stage, getattr(defense, f"{stage}_cap"))

    return train


def _em_training(steps: int, ctx: Context) -> None:
    craft(f"em:max_rounds=1:steps=1:batch_size={BATCH}:batches_per_round={steps}", MANY, ctx)


def _em_gradient(steps: int, ctx: Context) -> None:
    craft(f"em:max_rounds=1:batch_size={BATCH}:batches_per_round=1:steps={steps}", 1, ctx)


def _rem(steps: int, ctx: Context) -> None:
    craft(f"rem:train_steps={steps}:steps=2:attacker_steps=2:samples=1", MANY, ctx)


def _tap_training(steps: int, ctx: Context) -> None:
    attack, half = component("attacks", "tap:surrogate_epochs=1"), torch.full(INFO.shape[:1], 0.5)
    surrogate = build_surrogate(attack.surrogate, INFO, ctx, mean=half, std=half, kaiming=True)
    attack._train(surrogate, images(steps), half.to(CUDA), 4.0, ctx)


def _tap_gradient(steps: int, ctx: Context) -> None:
    craft(f"tap:surrogate_epochs=1:restarts=1:steps={steps}", 1, ctx)


def craft(text: str, batches: int, ctx: Context) -> None:
    """The surrogate and the noise; what makes images of it and reports on it would read values."""
    component("attacks", text).craft(resident(images(batches), CUDA), ctx, Passes())


def _evaluation(steps: int, ctx: Context) -> None:
    victim = component("victims", "resnet18")
    predict(build(lambda: victim.build(INFO), ctx), images(steps).images.to(CUDA), CUDA, BATCH)


LOOPS: dict[str, tuple[str, Callable[[int, Context], None]]] = {
    "victim": ("training step of ResNet-18", of_victim),
    "victim-fed": ("the same, the images in host memory; the wait is the feeding thread's, for its own buffer", _fed),
    "dvae-stage1": ("training step of D-VAE, stage 1", of_dvae("stage1")),
    "dvae-stage2": ("training step of D-VAE, stage 2", of_dvae("stage2")),
    "at": ("training step of ResNet-18 under at, ten steps of PGD", _at),
    "em-training": ("training step of EM's surrogate", _em_training),
    "em-gradient": ("gradient step of EM's noise on one chunk of images", _em_gradient),
    "rem": ("training step of REM with 2 steps of the defender and 2 of the attacker, one sample", _rem),
    "tap-training": ("training step of TAP's surrogate", _tap_training),
    "tap-gradient": ("gradient step of TAP's noise on one chunk of images, with its random moves", _tap_gradient),
    "evaluation": ("predictions for a batch, ResNet-18", _evaluation),
}
REPLAYED = ("victim", "victim-fed", "dvae-stage1", "dvae-stage2", "at", "em-training", "rem", "tap-training")


def measure(name: str, replayed: bool = False) -> dict[str, int]:
    """Counts of one step.

    Raises:
        AssertionError: if the steps of a loop are not alike, or not replayed, or do work outside the capture.
    """
    _, work = LOOPS[name]
    totals = []
    for steps in (FEW, FEW, MANY):  # the first one loads what is loaded once a process
        with context("graph" if replayed else "eager") as ctx:
            watch.reset()
            work(steps, ctx)
            totals.append(watch.counts())
            assert chosen(ctx) == (["graph"] if replayed else []), f"{name}: {ctx.logs}"
    assert not totals[2].get(OUTSIDE), name
    found = {}
    inside = (*(what + INSIDE for what in OF_VERSION), *COPIES_INSIDE, "graphs")
    for what in (*OF_VERSION, *OF_CODE, *(inside if replayed else ())):
        more = totals[2].get(what, 0) - totals[1].get(what, 0)
        assert more % (MANY - FEW) == 0, f"{name}: {more} more {what} in {MANY - FEW} more steps"
        found[what] = more // (MANY - FEW)
    return found


def chosen(ctx: Context) -> list[object]:
    """The engines of the trainings."""
    return [value for name, value in ctx.logs.items() if name.endswith(".engine")]


@contextmanager
def context(mode: str) -> Iterator[Context]:
    """Of one loop, in bfloat16."""
    engine = Engine.choose("cuda", mode)
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
        words = LOOPS[name][0] if name in LOOPS else "the same, replayed from a CUDA graph"
        lines += ["", f"[{name}]  # {words}", *(f'"{what}" = {many}' for what, many in counts.items())]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _replayed() -> dict[str, dict[str, int]]:
    """From a process with PyTorch's allocator, which graphs need."""
    variables = {name: value for name, value in os.environ.items() if name != build_library.UNCACHED}
    command = [sys.executable, "-m", "tests.gpu.pretended.loops", "--replayed"]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["--replayed"]:
        watch.believe_what_is_on_the_device()
        print(json.dumps({name: measure(name, replayed=True) for name in REPLAYED}))
    else:
        plain, replayed = {name: measure(name) for name in LOOPS}, _replayed()
        measured = {}
        for name, counts in plain.items():
            measured[name] = counts
            if name in replayed:
                measured[f"{name}-replayed"] = replayed[name]
        if sys.argv[1:] == ["--renew"]:
            write(measured)
        print(json.dumps({"torch": torch.__version__, "loops": measured}))
