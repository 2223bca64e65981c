"""All that a defense does in a run, in processor seconds: the same calls in the same order as the plan and the stages.

A call that is missing here is a place where a defense could work for a later stage without being seen.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.api import (
    ChecksFit,
    Context,
    ImageSet,
    KnowsStep,
    KnowsWork,
    Purifies,
    Recipe,
    SeesTestImages,
    TrainsDifferently,
)
from bench.api.harness_only import harness_only
from bench.datasets.splits import content_digest
from bench.plan.obstacles import blank
from bench.select.spec import Selected
from bench.stages.made import anew
from bench.stages.train import changed_recipe, loss_of
from bench.training import Batches, build, fit

_CPU = torch.device("cpu")
_BATCH = 8  # images of the one training step


@dataclass(frozen=True)
class Run:
    """A run of a defense.

    Attributes:
        seconds: of the processor, for everything.
        rehearsing: those of them that no cost contains.
        digest: of what came out.
        importing: what importing the plug-in took before.
    """

    seconds: float
    rehearsing: float
    digest: str
    importing: float = 0.0


def whole_run(selected: Selected, images: ImageSet) -> Run:
    """Plans with a defense, purifies the images with it, views them, and trains a linear network for one step."""
    start, rehearsals = processor_seconds(), _Rehearsals()
    _plan(anew(selected.component), images)
    with tempfile.TemporaryDirectory() as scratch:
        ctx = _Context(0, _CPU, Path(scratch), selected.name, rehearsals)
        result = anew(selected.component).purify(images, ctx) if isinstance(selected.component, Purifies) else images
        ctx.recorded()
        digest = content_digest(result)
    with tempfile.TemporaryDirectory() as scratch:
        digest += _train(selected.component, images, _Context(0, _CPU, Path(scratch), selected.name, rehearsals))
    return Run(processor_seconds() - start, rehearsals.seconds, digest)


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _plan(defense: Any, images: ImageSet) -> None:
    if hasattr(defense, "content_digest"):
        defense.content_digest()
    if isinstance(defense, ChecksFit):
        defense.check_fit(blank(images))
    changed_recipe(defense, Recipe())
    work = defense.work(images.info, len(images)) if isinstance(defense, KnowsWork) else None
    if work is not None and work.network is not None:
        work.network()
    if isinstance(defense, KnowsStep):
        _ = defense.step_passes


def _train(component: Any, images: ImageSet, ctx: Context) -> str:
    """Digest of the view and the recipe; the loss is not in it, because float sums may differ between processes."""
    digest = ""
    if isinstance(component, SeesTestImages):
        digest += content_digest(replace(images, images=anew(component).view(images.images)))
    defense = anew(component)
    digest += repr(changed_recipe(defense, Recipe()))
    if isinstance(defense, TrainsDifferently):
        few = images.take(torch.arange(min(_BATCH, len(images))))
        size, classes = few.images[0].numel(), few.info.num_classes
        model = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, classes)), ctx)
        batches = Batches(few, _CPU, _BATCH, ctx.generator("batch-order"))
        fit(model, batches, loss_of(defense, model, ctx), Recipe(epochs=1), ctx, phase="train")
    ctx.recorded()
    return digest


@dataclass
class _Rehearsals:
    """A meter of rehearsals alone, in processor seconds."""

    seconds: float = 0.0
    _inside: bool = False

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def warm(self) -> AbstractContextManager[None]:
        harness_only("warm")
        return self._rehearsal()

    @contextmanager
    def _rehearsal(self) -> Iterator[None]:
        start, before, self._inside = processor_seconds(), self._inside, True
        try:
            yield
        finally:
            self._inside = before
            if not before:
                self.seconds += processor_seconds() - start


class _Context(Context):
    """A context without the trap for `generator` in a training step: another contract sees that."""

    @contextmanager
    def training_step(self, inside: bool = True) -> Iterator[None]:
        yield
