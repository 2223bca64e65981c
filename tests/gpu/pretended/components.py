"""Every registered component on a pretended GPU, at toy size: nothing is on the wrong device, no step waits."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from bench.api import Context, FitsOnce, ImageSet, Purifies, SeesTestImages, TrainsDifferently
from bench.api.engine import Engine
from bench.check.component import quick_defaults, tiny
from bench.datasets.splits import Splits
from bench.measure.cost import Meter
from bench.registry import BY_KIND
from bench.select.spec import Selected, select
from bench.stages.crafting import craft
from bench.training import Batches, accuracy, build, cross_entropy, fit, predict, resident
from defenses.avatar.network import ScoreNetwork, save
from tests.gpu.pretended import watch

CUDA = torch.device("cuda")
CPU = torch.device("cpu")
KINDS = ("attacks", "defenses", "victims")

# Further ways through a component, and a value for those that need one. TIGHT: the device has so little free memory
# that data and noise stay on the host.
TIGHT = " (little memory)"
MORE = {
    "attacks": (
        "from-file:path={poison}",
        "from-file:path={noise}",
        "adaptive:base=em:through=iss-gray",
        "adaptive:base=tap:through=iss-bdr",
        'adaptive:base=em:through="low-pass+median+bilateral"',
        "em:mode=class",
        "em:poison_rate=0.5:craft_on=subset",
        "em" + TIGHT,
        "rem:random_resized_crop=true",
        "rem:crop_padding=4:attacker_steps=0",
        "rem" + TIGHT,
        "tap:shift=2:flip=true:restarts=2",
        "tap:targeted=false" + TIGHT,
        "lsp:poison_rate=0.5",
    ),
    "defenses": (
        "dvae:network=cifar:warmup_epochs=0",
        "dvae:network=imagenet:warmup_epochs=0",
        "dvae:perturbation=class:embed_into=h:latents=mean",
        "dvae" + TIGHT,
        "vae:network=cifar",
        "ae:network=cifar:width=8",
        "at:steps=10",
        "at:norm=l2:eps=0.5",
        "at-fast:check_every=1",
        "iss-jpeg:test_view=true",
        'avatar:weights="{network}":noise_steps=2',
        "clean-mix:images=4",
    ),
    "victims": (
        "resnet18",
        "small-cnn:random_resized_crop=true:crop_padding=0",
        "small-cnn" + TIGHT,
        "timm:model=vit_tiny_patch16_224",
        "pretrained:{victim}:model=resnet18:tune=head-only",
    ),
}


def cases(kind: str) -> list[str]:
    """Every registered component of a kind that needs no value, then the further ways."""
    alone = [name for name, entry in BY_KIND[kind].items() if not entry.needed]
    return [*alone, *MORE[kind]]


def run(kind: str, text: str) -> None:
    """One case.

    Raises:
        Exception: torch's own for a tensor on the wrong device or a wait; AssertionError for a result there.
    """
    if text.endswith(TIGHT):
        os.environ["PRETENDED_FREE_BYTES"] = "10000"
    try:
        with _context() as ctx:
            for selected in select(BY_KIND[kind], _with_files(text.removesuffix(TIGHT), ctx), quick_defaults(kind)):
                _CHECKS[kind](selected, _splits(text), replace(ctx, scope=selected.name))
            json.dumps(ctx.recorded())
    finally:
        os.environ.pop("PRETENDED_FREE_BYTES", None)


def _splits(text: str) -> Splits:
    """The tiny set; stored squeezed, where resized crops undo that."""
    splits = tiny()
    if "random_resized_crop=true" not in text:
        return splits
    return replace(splits, train=replace(splits.train, aspect_ratios=torch.linspace(0.5, 2, len(splits.train))))


def _attack(selected: Selected, splits: Splits, ctx: Context) -> None:
    """Crafts; where kernels do nothing, an attack that trains a surrogate changes no image."""
    poisoned, mask = craft(selected.component, splits.train, ctx)
    _assert_on(CPU, images=poisoned.images, labels=poisoned.labels, mask=mask, **ctx.kept)


def _defense(selected: Selected, splits: Splits, ctx: Context) -> None:
    component = selected.component
    if isinstance(component, Purifies):
        purified = component.purify(splits.train, ctx)
        _assert_on(CPU, images=purified.images, labels=purified.labels, **ctx.kept)
    if isinstance(component, SeesTestImages):
        _assert_on(CPU, view=component.view(splits.test.images))
    if isinstance(component, TrainsDifferently):
        _train("small-cnn", component, splits.train, splits.test, ctx)


def _victim(selected: Selected, splits: Splits, ctx: Context) -> None:
    if isinstance(selected.component, FitsOnce):
        _judge(selected.component.fit(splits.train, ctx), splits.test)
    else:
        _train(selected.text, None, splits.train, splits.test, ctx)


_CHECKS = {"attacks": _attack, "defenses": _defense, "victims": _victim}


def _train(text: str, defense: TrainsDifferently | None, train: ImageSet, test: ImageSet, ctx: Context) -> None:
    """One epoch and the evaluation, as in `bench.stages.train`."""
    victim = select(BY_KIND["victims"], text, quick_defaults("victims"))[0].component
    recipe = replace(victim.recipe, epochs=1, batch_size=20, warmup_epochs=0, drop_last=False)
    model = build(lambda: victim.build(train.info), ctx)
    batches = Batches.of_recipe(train, recipe, ctx)
    loss = cross_entropy(model)
    if defense is not None:
        loss = lambda batch: defense.batch_loss(model, batch.images_01, batch.labels, ctx)  # noqa: E731
    fit(model, batches, loss, recipe, ctx)
    _judge(model, test)


def _judge(model: nn.Module, test: ImageSet) -> None:
    _assert_on(CUDA, **dict(model.named_parameters()), **dict(model.named_buffers()))
    seen = resident(test, CUDA)
    _assert_on(CUDA, predictions=predict(model, seen.images, CUDA))
    assert accuracy(model, seen, CUDA) >= 0
    assert accuracy(model, test, CUDA) >= 0


def _assert_on(device: torch.device, **tensors: torch.Tensor) -> None:
    wrong = {name: str(tensor.device) for name, tensor in tensors.items() if tensor.device.type != device.type}
    assert not wrong, f"expected on {device.type}: {wrong}"


def _with_files(text: str, ctx: Context) -> str:
    """The selection with files: a poison of the tiny set, as whole images and as noise; networks of a purifier and of
    a victim."""
    if "{" not in text:
        return text
    images = tiny().train.images.permute(0, 2, 3, 1).numpy()
    noise = np.where(images > 128, -4, 4).astype(np.int8)
    files = {"poison": (images + noise).astype(np.uint8), "noise": noise.astype(np.float32) / 255}
    for name, array in files.items():
        np.save(ctx.scratch / f"{name}.npy", array)
    network = ctx.scratch / "network.safetensors"
    save(ScoreNetwork(3, 8, (1, 2)), network)
    victim = ctx.scratch / "victim.pt"
    torch.save(select(BY_KIND["victims"], "resnet18")[0].component.build(tiny().train.info).state_dict(), victim)
    return text.format(network=network, victim=victim, **{name: ctx.scratch / f"{name}.npy" for name in files})


@contextmanager
def _context() -> Iterator[Context]:
    """On the device, metered, with the engine that `--precision auto` chooses for it: bfloat16."""
    engine = Engine.choose("cuda", "eager")
    with TemporaryDirectory() as scratch, engine.applied(), Meter(CUDA, engine) as meter:
        yield Context(0, CUDA, Path(scratch), "test", meter, engine=engine)


def report(kinds: tuple[str, ...] = KINDS) -> dict[str, str]:
    """What each case raised, or ""; with waits as errors."""
    watch.refuse_waits_in_steps()
    watch.believe_what_is_on_the_device()
    found = {}
    for kind in kinds:
        for text in cases(kind):
            try:
                run(kind, text)
                found[f"{kind} {text}"] = ""
            except Exception:
                found[f"{kind} {text}"] = traceback.format_exc()
    return found


if __name__ == "__main__":
    print(json.dumps(report()))
