"""The stage `purify`: a defense on a poisoned training set."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.api import Context, ImageSet, Purifies
from bench.errors import ContractError
from bench.measure import diagnosis
from bench.measure.cost import another_run, median_cost
from bench.registry import defenses
from bench.select.spec import Selected, select
from bench.stages.invariants import check_same_kind, untouched
from bench.stages.left_running import Threads, no_child_left
from bench.stages.made import Made, anew, made_images
from bench.stages.task import Task
from bench.store.results import Cost


def purify(task: Task) -> Made:
    """Purifies the poison, several times if that is short, and compares the result with the clean images."""
    defense = select(defenses, task.job.component)[0]
    clean, given = task.dataset().train, task.images_after("poison")
    who = f"defense {defense.name!r}"
    with untouched(given, who, task.known("poison")):
        purified, ctx, logs, cost = _once(task, defense, given)
        if purified is not given:
            purified = _out_of_reach(purified, ctx)
        check_same_kind(who, purified, given)
        if purified is not given:
            cost = _repeated(task, defense, given, purified, cost)
    if not isinstance(defense.component, Purifies):
        joules = None if cost.energy_joules is None else 0.0
        cost = replace(cost, wall_seconds=0.0, energy_joules=joules)
    payload = {"scores": _scores(ctx, purified, given, clean), "logs": logs}
    return made_images(purified, clean, "poison" if purified is given else "", cost, payload, ctx.kept)


def _once(task: Task, defense: Selected, given: ImageSet) -> tuple[Any, Context, dict[str, Any], Cost]:
    """Images from a defense (those given if it purifies none), its context and logs, and the cost."""
    who = f"defense {defense.name!r}"
    ctx, meter = task.context(defense.name)
    purified: Any = given
    with no_child_left(who), meter:
        threads = Threads(who, ctx.engine)
        if isinstance(defense.component, Purifies):
            purified = anew(defense.component).purify(given, ctx)
        logs = ctx.recorded()
        threads.check()
    return purified, ctx, logs, meter.cost()


def _out_of_reach(purified: Any, ctx: Context) -> Any:
    """A copy of images that memory holds: what a defense writes into them after its return is lost."""
    if type(purified) is not ImageSet or type(purified.images) is not Tensor:
        return purified  # refused afterwards
    if purified.images.numel() > ctx.resident_bytes:
        return purified
    return replace(purified, images=purified.images.clone())


def _scores(ctx: Context, purified: ImageSet, given: ImageSet, clean: ImageSet) -> dict[str, Any]:
    scores = {
        "purified_psnr_db": diagnosis.psnr_db(purified.images, clean.images),
        "residual_poison_ratio": diagnosis.residual_poison_ratio(
            purified.images, given.images, clean.images, clean.labels
        ),
    }
    estimate = ctx.kept.get("perturbation")
    if estimate is not None:
        scores["perturbation_cosine"] = diagnosis.perturbation_cosine(estimate, given.images, clean.images)
        scores["perturbation_class_cosine"] = diagnosis.class_mean_cosine(
            estimate, given.images, clean.images, clean.labels
        )
    return scores


def _repeated(task: Task, defense: Selected, given: ImageSet, purified: ImageSet, first: Cost) -> Cost:
    """The median of several runs of the same purification, the first included; their results are not kept.

    Raises:
        ContractError: if a defense that is registered as deterministic gives other bytes.
    """
    runs = [first]
    while another_run([run.wall_seconds for run in runs], task.session.repeat_costs):
        once_more = task.repeated(f"run-{len(runs) + 1}")
        again, _, _, cost = _once(once_more, defense, given)
        if defense.entry.deterministic and not torch.equal(again.images, purified.images):
            raise ContractError(f"defense {defense.name!r} is registered deterministic=True, but two runs differ")
        shutil.rmtree(once_more.scratch)
        runs.append(cost)
    return median_cost(runs) if len(runs) > 1 else first
