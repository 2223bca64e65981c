"""The test images as the defense shows them to the victim, and the share that it gets right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from bench.api import Context, ImageSet, SeesTestImages
from bench.measure.cost import Meter
from bench.stages.invariants import check_same_kind, untouched
from bench.stages.made import anew
from bench.stages.task import Task


def share_right(predictions: Tensor, labels: Tensor) -> float:
    """Accuracy, in [0, 1]; predictions on the CPU."""
    return float((predictions == labels.cpu()).double().mean())


def view_of(defense: Any, test: ImageSet, task: Task, ctx: Context, meter: Meter) -> tuple[ImageSet, float | None]:
    """The test images as the victim sees them, and the seconds that took (None if they are shown as they are)."""
    if not isinstance(defense, SeesTestImages):
        return test, None
    with untouched(test, "the defense's view", task.known("test")), ctx.phase("view"):
        images = anew(defense).view(test.images)
    if images is test.images:
        return test, None
    viewed = replace(test, images=images)
    check_same_kind("the defense's view", viewed, test)
    return viewed, meter.seconds("view")
