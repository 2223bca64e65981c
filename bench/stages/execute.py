"""The three stages: poison, purify, train and score. The only callers of plug-ins; they check what plug-ins promise.

Every stage runs its plug-in inside a `Meter`, loads before and stores after it, and computes the harness's own
diagnosis outside it, so that a cost is the method's and nothing else.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import time
import traceback
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.api import ChangesRecipe, Context, ImageSet, Purifies, Recipe, SeesTestImages, TrainsDifferently
from bench.api.engine import Engine
from bench.errors import ContractError, UserError, of_the_machine
from bench.measure import diagnosis
from bench.measure.cost import Meter, another_run, device_name, median_cost
from bench.measure.samples import sample_tensors
from bench.registry import attacks, defenses, load_plugin, victims
from bench.select.spec import Selected, plain, select
from bench.stages.capture import captured
from bench.stages.invariants import check_budget, check_same_kind, untouched
from bench.stages.jobs import Job, Report
from bench.stages.poisoning import craft
from bench.stages.session import Session
from bench.stages.task import OnProgress, Task, unseen
from bench.store.artifacts import Store
from bench.store.results import Cost, Manifest
from bench.training import Batches, Loss, build, cross_entropy, fit, predict, resident, to_float, to_uint8
from bench.training.crops import center_boxes, check_squeezed, crop_and_resize

_CURVE_SAMPLE = 500  # training images on which the curve's training accuracy is measured


def execute(job: Job, session: Session, on_progress: OnProgress = unseen) -> Report:
    """Runs one job and stores its artifact. A failure of the plug-in is a report, not an exception."""
    start = time.perf_counter()
    store = Store(session.store)
    with store.in_use():
        return _execute(Task(job, session, store, store.scratch(), on_progress), start)


def _execute(task: Task, start: float) -> Report:
    job, session, store = task.job, task.session, task.store
    here = Path.cwd()
    error: dict[str, str] = {}
    with captured(store.log(job.stage, job.key)) as warned:
        try:
            if session.threads:
                torch.set_num_threads(session.threads)
            for plugin in session.plugins:
                _load_plugin_once(plugin)
            with session.engine.applied():
                manifest, tensors = _STAGES[job.stage](task)
            store.write(manifest, tensors)
        except KeyboardInterrupt:
            raise
        except BaseException as caught:  # research code calls sys.exit, or has exceptions outside of Exception
            error = {
                "stage": job.stage,
                "key": job.key,
                "kind": type(caught).__name__,
                "message": of_the_machine(caught) or _message(caught),
                "traceback": traceback.format_exc(),
            }
        finally:
            os.chdir(here)  # a plug-in may have gone elsewhere; the data set's path may start here
            shutil.rmtree(task.scratch, ignore_errors=True)
    status: Literal["done", "failed"] = "failed" if error else "done"
    return Report(job.key, job.stage, status, time.perf_counter() - start, error, dict(warned))


def _message(error: BaseException) -> str:
    """Message of an error; the place where it was raised, if it has none or cannot give it."""
    try:
        said = str(error)
    except Exception:  # an exception of a plug-in may fail even at this
        said = ""
    if said:
        return said
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"no message; raised in {Path(frame.filename).name}:{frame.lineno}: {frame.line}"


@functools.cache
def _load_plugin_once(path: str) -> None:
    load_plugin(Path(path))


def _poison(task: Task) -> tuple[Manifest, dict[str, Tensor]]:
    attack = select(attacks, task.job.component)[0]
    clean = task.dataset().train
    ctx, meter = task.context(attack.name)
    with untouched(clean, f"attack {attack.name!r}"), meter:
        poisoned, mask = craft(attack.component, clean, ctx)
    check_budget(attack.name, attack.component.budget, poisoned, clean, mask)
    scores = diagnosis.poison_scores(poisoned.images, clean.images, clean.labels, mask, attack.component.budget)
    alias_of = "dataset" if poisoned is clean else ""
    manifest, tensors = _artifact(task, ctx, meter, alias_of, scores, {"images": poisoned.images, "mask": mask}, clean)
    payload = {**manifest.payload, "budget": str(attack.component.budget)}
    return replace(manifest, payload=payload), tensors


def _purify(task: Task) -> tuple[Manifest, dict[str, Tensor]]:
    defense = select(defenses, task.job.component)[0]
    clean = task.dataset().train
    given = task.images_after("poison")
    ctx, meter = task.context(defense.name)
    purified = given
    with untouched(given, f"defense {defense.name!r}"), meter:
        if isinstance(defense.component, Purifies):
            purified = _anew(defense.component).purify(given, ctx)
    check_same_kind(f"defense {defense.name!r}", purified, given)
    cost = meter.cost() if purified is given else _repeated(task, defense, given, purified, meter.cost())
    scores: dict[str, float | None] = {
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
    alias_of = "poison" if purified is given else ""
    manifest, tensors = _artifact(task, ctx, meter, alias_of, scores, {"images": purified.images}, clean)
    manifest = replace(manifest, cost=cost)
    if not isinstance(defense.component, Purifies):
        joules = None if manifest.cost.energy_joules is None else 0.0
        manifest = replace(manifest, cost=replace(manifest.cost, wall_seconds=0.0, energy_joules=joules))
    return manifest, tensors


def _repeated(task: Task, defense: Selected, given: ImageSet, purified: ImageSet, first: Cost) -> Cost:
    """The median of several runs of the same purification, the first included; their results are not kept.

    Raises:
        ContractError: if a defense that is registered as deterministic gives other bytes.
    """
    runs = [first]
    with untouched(given, f"defense {defense.name!r}"):
        while another_run([run.wall_seconds for run in runs], task.session.repeat_costs):
            once_more = task.repeated(f"run-{len(runs) + 1}")
            ctx, meter = once_more.context(defense.name)
            with meter:
                again = _anew(defense.component).purify(given, ctx)
            if defense.entry.deterministic and not torch.equal(again.images, purified.images):
                raise ContractError(f"defense {defense.name!r} is registered deterministic=True, but two runs differ")
            shutil.rmtree(once_more.scratch)
            runs.append(meter.cost())
    return median_cost(runs) if len(runs) > 1 else first


def _train(task: Task) -> tuple[Manifest, dict[str, Tensor]]:
    victim = select(victims, task.job.component)[0]
    chosen = select(defenses, task.job.defense)[0].component if task.job.defense else None
    train, test = task.images_after("purify"), task.dataset().test
    ctx, meter = task.context(victim.name)
    curve: list[dict[str, float | None]] = []
    with meter:
        viewed, view_seconds = _view(chosen, test, ctx, meter)
        defense, recipe = chosen, victim.component.recipe
        if chosen is not None:
            with ctx.phase("change_recipe"):
                defense = _anew(chosen)
                recipe = changed_recipe(defense, recipe)
        if recipe != victim.component.recipe:
            ctx.log("recipe_changes", _changes(victim.component.recipe, recipe))
        check_squeezed(train.aspect_ratios, recipe.random_resized_crop)  # a defense may have changed the recipe
        judged = resident(viewed, ctx.device)
        sample = resident(_sample(train, ctx), ctx.device)
        model = build(lambda: victim.component.build(train.info), ctx)
        batches = Batches(
            train,
            ctx.device,
            recipe.batch_size,
            ctx.generator("batch-order"),
            crop_padding=recipe.crop_padding,
            random_resized_crop=recipe.random_resized_crop,
            flip=recipe.flip,
            drop_last=recipe.drop_last,
        )

        predictions = torch.empty(0, dtype=torch.int64)

        def after_epoch(epoch: int, mean_loss: float) -> None:
            nonlocal predictions
            with ctx.phase("evaluate"):
                predictions = predict(model, judged.images, ctx.device).cpu()
                on_sample = predict(model, sample.images, ctx.device).cpu()
            curve.append(
                {
                    "epoch": epoch + 1,
                    "train_loss": mean_loss,
                    "train_accuracy": _share_right(on_sample, sample.labels),
                    "clean_test_accuracy": _share_right(predictions, test.labels),
                }
            )

        fit(model, batches, _loss(defense, model, ctx), recipe, ctx, phase="train", after_epoch=after_epoch)
    payload = {
        "clean_test_accuracy": _share_right(predictions, test.labels),
        "test_images": len(test),
        "curve": curve,
        "view_seconds": view_seconds,
        "recipe": {name: plain(value) for name, value in asdict(recipe).items()},
        "logs": ctx.recorded(),
    }
    return _manifest(task, meter, payload), {"predictions": predictions.to(torch.int32)}


def _share_right(predictions: Tensor, labels: Tensor) -> float:
    return float((predictions == labels.cpu()).double().mean())


def _anew(component: Any) -> Any:
    """The component constructed again, inside the meter: what `__init__` computes is charged, and no state is left."""
    return replace(component)


def _view(defense: Any, test: ImageSet, ctx: Context, meter: Meter) -> tuple[ImageSet, float | None]:
    """The test images as the victim sees them, and the seconds that took (None if they are shown as they are)."""
    if not isinstance(defense, SeesTestImages):
        return test, None
    with untouched(test, "the defense's view"), ctx.phase("view"):
        images = _anew(defense).view(test.images)
    if images is test.images:
        return test, None
    viewed = replace(test, images=images)
    check_same_kind("the defense's view", viewed, test)
    return viewed, meter.seconds("view")


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


def _loss(defense: Any, model: torch.nn.Module, ctx: Context) -> Loss:
    if not isinstance(defense, TrainsDifferently):
        return cross_entropy(model)
    return lambda batch: defense.batch_loss(model, batch.images_01, batch.labels, ctx)


def _artifact(
    task: Task,
    ctx: Context,
    meter: Meter,
    alias_of: str,
    scores: dict[str, float | None],
    result: dict[str, Tensor],
    clean: ImageSet,
) -> tuple[Manifest, dict[str, Tensor]]:
    """Manifest and tensors of an image set; one that is its input again stores nothing of it but the samples."""
    manifest = replace(_manifest(task, meter, {"scores": scores, "logs": ctx.recorded()}), alias_of=alias_of)
    samples = sample_tensors(clean, replace(clean, images=result["images"]))
    return manifest, samples if alias_of else {**result, **ctx.kept, **samples}


def _manifest(task: Task, meter: Meter, payload: dict[str, Any]) -> Manifest:
    job, found = task.job, environment(task.session.device, task.session.engine)
    return Manifest(job.key, job.stage, job.preimage, "", 0, "", meter.cost(), payload, found)


def environment(device: str, engine: Engine | None = None) -> dict[str, Any]:
    """Versions, machine and engine, stored with every artifact."""
    engine = engine or Engine()
    return {
        "device": device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "engine": engine.mode,
        "deterministic": engine.deterministic,
        "precision": engine.precision,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cuda": torch.version.cuda if device.startswith("cuda") else None,
        **_versions(),
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("purify-bench", "torch", "torchvision", "timm", "numpy")}


_STAGES = {"poison": _poison, "purify": _purify, "train": _train}
