"""The stage `train` for a victim that is not trained in steps: one fit to the defended images, judged once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.api import ChangesRecipe, ChecksFit, Context, FitsOnce, ImageSet, TrainsDifferently
from bench.errors import ContractError
from bench.measure.cost import Meter
from bench.registry import defenses, victims
from bench.select.spec import select
from bench.stages.as_built import AsBuilt
from bench.stages.invariants import untouched
from bench.stages.judging import share_right, view_of
from bench.stages.left_running import Threads, no_child_left
from bench.stages.made import Made, anew
from bench.stages.network import check_network
from bench.stages.task import Task
from bench.training import predict, resident, seeded
from bench.training.crops import check_squeezed

_REHEARSED = 256  # images
_JUDGED_AT_ONCE = 1000  # images: each part may be compared with all training images, which then are read once


def fit_once(task: Task) -> Made:
    """Fits the victim to what the stages before passed on, and judges it on the test images. There are no epochs."""
    victim = select(victims, task.job.component)[0]
    defense: Any = select(defenses, task.job.defense)[0].component if task.job.defense else None
    check_pair(defense, victim.component)
    train, test = task.images_after("purify"), task.dataset().test
    check_squeezed(train.aspect_ratios, random_resized_crop=False)
    who = f"victim {victim.name!r}"
    ctx, meter = task.context(victim.name)
    with no_child_left(who), meter:
        threads = Threads(who, ctx.engine)
        viewed, view_seconds = view_of(defense, test, task, ctx, meter)
        judged = resident(viewed, ctx.device)
        with untouched(train, who, task.known("purify")):
            network = _fitted(victim.component, train, ctx, meter)
        threads.check()
        built = AsBuilt(network)
        with ctx.phase("evaluate"), built.judged():
            predictions = predict(network, judged.images, ctx.device, _JUDGED_AT_ONCE).cpu()
        logs = ctx.recorded()
        threads.check()
    payload = {
        "clean_test_accuracy": share_right(predictions, test.labels),
        "test_images": len(test),
        "curve": [],
        "view_seconds": view_seconds,
        "recipe": {},
        "logs": logs,
    }
    return Made(meter.cost(), payload, {"predictions": predictions.to(torch.int32)})


def check_pair(defense: Any, victim: FitsOnce) -> None:
    """Raises ContractError if the defense acts on training steps, of which the victim has none."""
    acts = {ChangesRecipe: "changes the recipe", TrainsDifferently: "replaces the loss of a training step"}
    if found := [words for face, words in acts.items() if isinstance(defense, face)]:
        raise ContractError(
            f"the defense {' and '.join(found)}, and this victim is fitted at once, without recipe or steps; choose "
            "another victim, or defenses that change the training images before"
        )


def check_victim(victim: FitsOnce, train: ImageSet) -> None:
    """Raises what the victim's `check_fit` raises, or ValueError for images that are stored squeezed."""
    check_squeezed(train.aspect_ratios, random_resized_crop=False)
    if isinstance(victim, ChecksFit):
        victim.check_fit(train)


def _fitted(victim: Any, train: ImageSet, ctx: Context, meter: Meter) -> torch.nn.Module:
    """The fitted network, in the phase `train`; a rehearsal on random images comes first."""
    with meter.warm(), ctx.rehearsal(), seeded(ctx.generator("rehearsal"), ctx.device):
        check_network(anew(victim).fit(_noise(train, ctx), ctx), train.info, ctx.device, in_steps=False)
    with ctx.phase("train"), seeded(ctx.generator("fit"), ctx.device):
        network: torch.nn.Module = anew(victim).fit(train, ctx)
    return network


def _noise(train: ImageSet, ctx: Context) -> ImageSet:
    """A few random images with the labels of images of the set."""
    few = train.take(torch.arange(min(_REHEARSED, len(train))))
    generator = ctx.generator("rehearsal-images")
    return replace(few, images=torch.randint(256, few.images.shape, dtype=torch.uint8, generator=generator))
