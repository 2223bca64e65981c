"""The stage `train`: the victim's training on the defended images, and its accuracy on the test images."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from bench.api import ChangesRecipe, Context, FitsOnce, ImageSet, Recipe, TrainsDifferently
from bench.errors import ContractError, UserError, in_one_line
from bench.measure.linearity import gradient_agreement
from bench.registry import defenses, victims
from bench.select.spec import plain, select
from bench.stages.as_built import AsBuilt
from bench.stages.clean_images import check_clean_images, with_clean_images
from bench.stages.fit_once import fit_once
from bench.stages.judging import share_right, view_of
from bench.stages.left_running import Threads, no_child_left
from bench.stages.made import Made, anew
from bench.stages.micro_batches import PARTS, forget_failed_try, in_parts, why_not_in_parts
from bench.stages.network import check_network
from bench.stages.task import Task
from bench.training import Batch, Batches, Loss, build, cross_entropy, fit, predict, resident, to_float, to_uint8
from bench.training.crops import center_boxes, check_squeezed, crop_and_resize

_CURVE_SAMPLE = 500  # training images on which the curve's training accuracy is measured
_JUDGED_AT_ONCE = 250  # images, in a second try; else as many as suit the device


def train(task: Task) -> Made:
    """Trains the victim on what the stages before passed on, and judges it on the test images after every epoch.

    If the GPU runs out of memory, once more from the start, with each batch in parts. A victim that is not trained in
    steps is fitted and judged once.

    Raises:
        torch.OutOfMemoryError: if parts do not help, or would not have the gradients of a batch; a note says which.
    """
    if isinstance(select(victims, task.job.component)[0].component, FitsOnce):
        return fit_once(task)
    try:
        return _train(task)
    except torch.OutOfMemoryError as error:
        first = str(error)
    forget_failed_try(torch.device(task.session.device))  # only here: the error holds the tensors of the first try
    if reason := _why_whole_batches(task):
        failed = torch.OutOfMemoryError(first)
        failed.add_note(f"there was no second try with each batch in {PARTS} parts: {reason}")
        raise failed
    try:
        return _train(replace(task.repeated("in-parts"), on_progress=task.on_progress), first)
    except torch.OutOfMemoryError as error:
        error.add_note(f"this was the second try, with each batch in {PARTS} parts")
        raise


def _why_whole_batches(task: Task) -> str:
    """The reason why a second try cannot split the batches; "" if it can."""
    victim = select(victims, task.job.component)[0]
    if task.job.defense and isinstance(select(defenses, task.job.defense)[0].component, TrainsDifferently):
        return f"the loss of defense {task.job.defense!r} may compute with all images of a batch"
    ctx, _ = task.context(victim.name)
    info = task.dataset().train.info
    return why_not_in_parts(build(lambda: victim.component.build(info), ctx), info, ctx)


def _train(task: Task, out_of_memory: str = "") -> Made:
    """One try; the second one, in parts, if the first one ended with this message."""
    victim = select(victims, task.job.component)[0]
    acting = select(defenses, task.job.defense)[0] if task.job.defense else None
    chosen = acting.component if acting else None
    splits = task.dataset()
    train, test = task.images_after("purify"), splits.test
    ctx, meter = task.context(victim.name)
    curve: list[dict[str, float | None]] = []
    who = f"defense {task.job.defense!r}" if chosen is not None else f"victim {victim.name!r}"
    with no_child_left(who), meter:
        threads = Threads(who, ctx.engine)
        viewed, view_seconds = view_of(chosen, test, task, ctx, meter)
        defense, recipe = chosen, victim.component.recipe
        if chosen is not None:
            with ctx.phase("change_recipe"):
                defense = anew(chosen)
                recipe = changed_recipe(defense, recipe)
        if recipe != victim.component.recipe:
            ctx.log("recipe_changes", _changes(victim.component.recipe, recipe))
        check_squeezed(train.aspect_ratios, recipe.random_resized_crop)  # a defense may have changed the recipe
        check_clean_images(recipe, splits, acting.entry.uses if acting else ())
        train = with_clean_images(train, splits, recipe.clean_images, ctx)
        judged = resident(viewed, ctx.device)
        sample = resident(_sample(train, ctx), ctx.device)
        model = build(lambda: victim.component.build(train.info), ctx)
        with meter.warm():
            check_network(model, train.info, ctx.device)
        built = AsBuilt(model)
        batches = Batches.of_recipe(train, recipe, ctx)
        loss, at_once = loss_of(defense, model, ctx), None
        if out_of_memory:
            loss, at_once = in_parts(loss), _JUDGED_AT_ONCE
            ctx.log("micro_batches", PARTS)
            ctx.log("first_try", in_one_line(out_of_memory))
        predictions = torch.empty(0, dtype=torch.int64)

        def after_epoch(epoch: int, mean_loss: float) -> None:
            nonlocal predictions
            threads.check()  # they would go on while the time is in no cost
            with ctx.phase("evaluate"), built.judged():
                predictions = predict(model, judged.images, ctx.device, at_once).cpu()
                on_sample = predict(model, sample.images, ctx.device, at_once).cpu()
            curve.append(
                {
                    "epoch": epoch + 1,
                    "train_loss": mean_loss,
                    "train_accuracy": share_right(on_sample, sample.labels),
                    "clean_test_accuracy": share_right(predictions, test.labels),
                }
            )

        fit(
            model,
            batches,
            loss,
            recipe,
            ctx,
            phase="train",
            after_epoch=after_epoch,
            replayable=not isinstance(defense, TrainsDifferently) or getattr(defense, "replayable", False) is True,
        )
        logs = ctx.recorded()
        threads.check()
    with built.judged():
        scores = _scores(model, judged.images, test.labels, ctx)
    payload = {
        "clean_test_accuracy": share_right(predictions, test.labels),
        "test_images": len(test),
        "curve": curve,
        "view_seconds": view_seconds,
        "recipe": {name: plain(value) for name, value in asdict(recipe).items()},
        "scores": scores,
        "logs": logs,
    }
    return Made(meter.cost(), payload, {"predictions": predictions.to(torch.int32)})


def _scores(model: torch.nn.Module, images_u8: Tensor, labels: Tensor, ctx: Context) -> dict[str, float | None]:
    """Diagnosis of the trained network, outside the meter; what has no gradient is no reason to lose the training."""
    agreement, images = None, 0
    try:
        agreement, images = gradient_agreement(model, images_u8, labels, ctx.device)
    except RuntimeError as error:
        ctx.log("gradient_agreement", f"not measured: {in_one_line(str(error))}")
    return {"victim_gradient_agreement": agreement, "victim_gradient_images": images or None}


def _sample(train: ImageSet, ctx: Context) -> ImageSet:
    """Training images as the network is tested: without augmentation, squeezed ones cut like test images."""
    order = torch.randperm(len(train), generator=ctx.generator("curve-sample"))
    sample = train.take(order[:_CURVE_SAMPLE].sort().values)
    if sample.aspect_ratios is None:
        return sample
    middle = crop_and_resize(to_float(sample.images), center_boxes(sample.aspect_ratios))
    return replace(sample, images=to_uint8(middle))


def changed_recipe(defense: Any, recipe: Recipe) -> Recipe:
    """Recipe of the victim's training: its own, or the defense's change of it.

    Raises:
        ContractError: if the defense returns anything but a Recipe, or one that is not valid.
    """
    if not isinstance(defense, ChangesRecipe):
        return recipe
    try:
        changed = defense.change_recipe(recipe)
    except (ValueError, UserError) as error:
        of = ", ".join(f"{name} {getattr(recipe, name)}" for name in ("epochs", "schedule", "warmup_epochs"))
        raise ContractError(f"change_recipe fails for a recipe with {of}: {error}") from error
    if not isinstance(changed, Recipe):
        raise ContractError(f"change_recipe returned {type(changed).__name__}, expected a Recipe")
    return changed


def _changes(before: Recipe, after: Recipe) -> str:
    """Differences, as `epochs 60 -> 100, ...`."""
    new = asdict(after)
    return ", ".join(f"{name} {old} -> {new[name]}" for name, old in asdict(before).items() if old != new[name])


def loss_of(defense: Any, model: torch.nn.Module, ctx: Context) -> Loss:
    """Loss of the victim's training: the defense's, or plain cross-entropy.

    The rehearsal, which is not charged, has a defense of its own: nothing that it keeps is of use to the training.
    """
    if not isinstance(defense, TrainsDifferently):
        return cross_entropy(model)

    def loss(batch: Batch) -> Tensor:
        ctx.epoch = batch.epoch
        acting = ctx.state("bench.defense", lambda: anew(defense))
        return acting.batch_loss(model, batch.images_01, batch.labels, ctx)  # type: ignore[no-any-return]

    return loss
