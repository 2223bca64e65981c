"""Images a second of the parts that take the time, on random images: speed does not depend on what is in them.

Everything runs through the benchmark's own loop and its own meter. A few uncounted batches come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench.api import Budget, Context, DataInfo, ImageSet
from bench.api.engine import Engine, Precision
from bench.measure.cost import Meter
from bench.registry import defenses, victims
from bench.select.spec import select
from bench.training import Batches, build, cross_entropy, fit, to_float
from bench.training.pgd import pgd
from gpu.scale import Scale

INFO = DataInfo("random", 10, (3, 32, 32))

# Dense bfloat16 operations a second by the maker's data sheet; a card that is not here gets no share.
PEAKS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
}

Rate = dict[str, Any]


def training(scale: Scale, device: torch.device, engine: Engine) -> Rate:
    """Plain training of the victim."""
    rate = _train(scale, device, engine, scale.epochs, lambda model, ctx: cross_entropy(model))
    bfloat16 = device.type == "cuda" and engine.precision == "bfloat16"
    peak = PEAKS.get(torch.cuda.get_device_name(device)) if bfloat16 else None
    operations = operations_per_image(_victim(scale).build(INFO))
    share = rate["per_second"] * operations / peak if peak else None
    return {**rate, "operations_per_image": operations, "share_of_bf16_peak": share}


def adversarial_training(scale: Scale, device: torch.device, engine: Engine) -> Rate:
    """Training with `at` at its own settings: ten steps."""
    defense = select(defenses, "at")[0].component
    return _train(
        scale,
        device,
        engine,
        1,
        lambda model, ctx: lambda batch: defense.batch_loss(model, batch.images_01, batch.labels, ctx),
    )


def purification(scale: Scale, device: torch.device, engine: Engine) -> Rate:
    """Training steps of D-VAE, both stages; `apply_seconds` is what rewriting the images twice takes."""
    text = f"dvae:network={scale.network}:epochs={scale.epochs}:batch_size={scale.batch_size}"
    component = select(defenses, text)[0].component
    train = random_set(scale.images)
    with _context(device, engine) as ctx:
        component.purify(random_set(2 * scale.batch_size), ctx)
    with _context(device, engine) as ctx, ctx.meter:
        component.purify(train, ctx)
    _check_replayed(ctx)
    phases = ctx.meter.cost().phases
    images = 2 * scale.epochs * (scale.images // scale.batch_size) * scale.batch_size
    return {**_rate(images, phases["fit"], ctx.meter), "apply_seconds": phases["apply"]}


def attack_steps(scale: Scale, device: torch.device, engine: Engine) -> Rate:
    """Gradients with respect to images, as PGD takes them."""
    train, steps, repeats = random_set(scale.pgd_batch), 10, scale.epochs

    def once(model: nn.Module) -> None:
        images, labels = to_float(train.images.to(device)), train.labels.to(device)
        budget = Budget("linf", 8 / 255)
        pgd(model, images, labels, direction="maximize", budget=budget, step_size=2 / 255, steps=steps)

    with _context(device, engine) as ctx, ctx.meter:
        model = build(lambda: _victim(scale).build(INFO), ctx)
        once(model)
        with ctx.phase("attack"):
            for _ in range(repeats):
                once(model)
    return _rate(scale.pgd_batch * steps * repeats, ctx.meter.cost().phases["attack"], ctx.meter)


SLICES: dict[str, Callable[[Scale, torch.device, Precision], Rate]] = {
    "rates/training": lambda scale, device, p: training(scale, device, Engine(precision=p)),
    "rates/training-large-batch": lambda scale, device, p: training(
        replace(scale, batch_size=4 * scale.batch_size), device, Engine(precision=p)
    ),
    "rates/training-graph": lambda scale, device, p: training(scale, device, Engine("graph", precision=p)),
    "rates/training-compiled": lambda scale, device, p: training(scale, device, Engine("compile", precision=p)),
    "rates/training-deterministic": lambda scale, device, p: training(
        scale, device, Engine(deterministic=True, precision=p)
    ),
    "rates/dvae": lambda scale, device, p: purification(scale, device, Engine(precision=p)),
    "rates/dvae-graph": lambda scale, device, p: purification(scale, device, Engine("graph", precision=p)),
    "rates/dvae-compiled": lambda scale, device, p: purification(scale, device, Engine("compile", precision=p)),
    "rates/at": lambda scale, device, p: adversarial_training(scale, device, Engine(precision=p)),
    "rates/at-graph": lambda scale, device, p: adversarial_training(scale, device, Engine("graph", precision=p)),
    "rates/at-compiled": lambda scale, device, p: adversarial_training(scale, device, Engine("compile", precision=p)),
    "rates/pgd": lambda scale, device, p: attack_steps(scale, device, Engine(precision=p)),
}


def random_set(count: int) -> ImageSet:
    """Uniform pixels and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *INFO.shape), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.randint(INFO.num_classes, (count,), generator=generator), INFO)


def operations_per_image(model: nn.Module) -> float:
    """Floating-point operations of convolutions and matrix products, forward and backward; a multiply-add is two."""
    images, labels = torch.rand(2, *INFO.shape), torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        functional.cross_entropy(model.train()(images), labels).backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()) / len(images)


def _train(
    scale: Scale, device: torch.device, engine: Engine, epochs: int, loss_of: Callable[[nn.Module, Context], Any]
) -> Rate:
    victim = _victim(scale)
    recipe = replace(victim.recipe, batch_size=scale.batch_size, epochs=1, warmup_epochs=0.0)

    def batches(count: int, ctx: Context) -> Batches:
        options = {
            "crop_padding": recipe.crop_padding,
            "random_resized_crop": recipe.random_resized_crop,
            "flip": recipe.flip,
            "drop_last": True,
        }
        return Batches(random_set(count), device, scale.batch_size, ctx.generator("batch-order"), **options)

    with _context(device, engine) as ctx, ctx.meter:
        model = build(lambda: victim.build(INFO), ctx)
        few = replace(ctx, engine=replace(engine, mode="eager"))
        fit(model, batches(2 * scale.batch_size, ctx), loss_of(model, few), recipe, few, phase="uncounted")
        counted = batches(scale.images, ctx)
        whole = replace(recipe, epochs=epochs)
        fit(model, counted, loss_of(model, ctx), whole, ctx, phase="train", replayable=True)  # plain and `at`: both are
    _check_replayed(ctx)
    seconds = ctx.meter.cost().phases["train"]
    return _rate(epochs * len(counted) * min(scale.batch_size, scale.images), seconds, ctx.meter)


def _check_replayed(ctx: Context) -> None:
    """Raises RuntimeError if a rate of CUDA graphs would be that of plain steps."""
    chosen = {name: value for name, value in ctx.logs.items() if name.endswith((".engine", ".engine_reason"))}
    if ctx.engine.mode == "graph" and (not chosen or any(value != "graph" for value in chosen.values())):
        raise RuntimeError(f"steps were not replayed from a CUDA graph: {chosen or 'no GPU'}")


def _victim(scale: Scale) -> Any:
    return select(victims, scale.victim)[0].component


@contextmanager
def _context(device: torch.device, engine: Engine) -> Iterator[Any]:
    with TemporaryDirectory() as scratch, engine.applied():
        yield Context(0, device, Path(scratch), "rate", Meter(device, engine), engine=engine)


def _rate(images: int, seconds: float, meter: Meter) -> Rate:
    return {"images": images, "seconds": seconds, "per_second": images / seconds, "cost": asdict(meter.cost())}
