"""The three stages: poison, purify, train and score. The only callers of plug-ins; they check what plug-ins promise.

Every stage runs its plug-in inside a `Meter`, loads before and stores after it, and computes the harness's own
diagnosis outside it, so that a cost is the method's and nothing else.
"""

from __future__ import annotations

import functools
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import data, diagnosis
from bench.api import Context, ImageSet, PartialPoison, SeesTestImages, TrainsDifferently
from bench.cost import Meter, device_name
from bench.errors import ContractError
from bench.jobs import Job, Report
from bench.registry import attacks, defenses, load_plugin, victims
from bench.results import Manifest
from bench.spec import Selected, select
from bench.store import Store
from bench.training import Batches, Loss, build, cross_entropy, fit, predict, resident

OnProgress = Callable[[int, int, str], None]

_CURVE_SAMPLE = 500  # training images on which the curve's training accuracy is measured


def execute(job: Job, on_progress: OnProgress = lambda done, total, note: None) -> Report:
    """Runs one job and stores its artifact. A failure of the plug-in is a report, not an exception."""
    start = time.perf_counter()
    store = Store(Path(job.store))
    scratch = store.scratch()
    try:
        if job.threads:
            torch.set_num_threads(job.threads)
        for plugin in job.plugins:
            _load_plugin_once(plugin)
        manifest, tensors = _STAGES[job.stage](job, store, scratch, on_progress)
        store.write(manifest, tensors)
    except (Exception, SystemExit) as error:  # research code likes to call sys.exit
        details = {
            "stage": job.stage,
            "kind": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
        }
        return Report(job.key, job.stage, "failed", time.perf_counter() - start, details)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Report(job.key, job.stage, "done", time.perf_counter() - start)


@functools.cache
def _load_plugin_once(path: str) -> None:
    load_plugin(Path(path))


def _poison(job: Job, store: Store, scratch: Path, on_progress: OnProgress) -> tuple[Manifest, dict[str, Tensor]]:
    attack = select(attacks, job.component)[0]
    clean = _dataset(job).train
    ctx, meter = _context(job, attack.name, scratch, on_progress)
    with _untouched(clean, f"attack {attack.name!r}"), meter:
        poisoned, mask = craft(attack.component, clean, ctx)
    check_same_kind(f"attack {attack.name!r}", poisoned, clean)
    check_budget(attack, poisoned, clean, mask)
    scores = {
        "poison_psnr_db": diagnosis.psnr_db(poisoned.images, clean.images),
        **{f"poison_{name}": size for name, size in diagnosis.measured_sizes(poisoned.images, clean.images).items()},
        "poisoned_images": int(mask.sum()),
    }
    return _artifact(job, ctx, meter, poisoned, "dataset" if poisoned is clean else "", scores, {"mask": mask})


@contextmanager
def _untouched(images: ImageSet, who: str) -> Iterator[None]:
    """Raises ContractError if the block changes the images; what the process has cached of them is then dropped."""
    before = data.content_digest(images)
    try:
        yield
    finally:
        if data.content_digest(images) != before:
            data.load.cache_clear()
            raise ContractError(f"{who} modified its input in place; work on a copy")


def craft(attack: Any, clean: ImageSet, ctx: Context) -> tuple[ImageSet, Tensor]:
    """The poisoned set and the bool (N,) mask of the images offered to the attack.

    Draws the part to be poisoned (`PartialPoison`), and puts the other images back as they were.
    """
    everything = torch.ones(len(clean), dtype=torch.bool)
    part = attack if isinstance(attack, PartialPoison) else PartialPoison()
    if part.poison_rate == 1.0:
        return attack.poison(clean, ctx), everything
    count = int(part.poison_rate * len(clean) + 1e-9)
    if count == 0:
        raise ValueError(f"poison_rate {part.poison_rate} of {len(clean)} images is no image; raise it")
    generator = ctx.generator("poison-set")
    if part.stratified:
        rows = data.stratified_rows(clean.labels, count, generator)
    else:
        rows = torch.randperm(len(clean), generator=generator)[:count].sort().values
    if part.craft_on == "all":
        crafted = attack.poison(clean, ctx).images[rows]
    else:
        crafted = attack.poison(clean.take(rows), ctx).images
    images = ctx.empty_images(tuple(clean.images.shape))
    images.copy_(clean.images)
    images[rows] = crafted
    mask = torch.zeros_like(everything)
    mask[rows] = True
    return replace(clean, images=images), mask


def _purify(job: Job, store: Store, scratch: Path, on_progress: OnProgress) -> tuple[Manifest, dict[str, Tensor]]:
    defense = select(defenses, job.component)[0]
    clean = _dataset(job).train
    given = _images_of(job, store, "poison")
    ctx, meter = _context(job, defense.name, scratch, on_progress)
    with _untouched(given, f"defense {defense.name!r}"), meter:
        purified = defense.component.purify(given, ctx)
    check_same_kind(f"defense {defense.name!r}", purified, given)
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
    return _artifact(job, ctx, meter, purified, "poison" if purified is given else "", scores, {})


def _train(job: Job, store: Store, scratch: Path, on_progress: OnProgress) -> tuple[Manifest, dict[str, Tensor]]:
    victim = select(victims, job.component)[0]
    defense = select(defenses, job.defense)[0].component if job.defense else None
    train, test = _images_of(job, store, "purify"), _dataset(job).test
    ctx, meter = _context(job, victim.name, scratch, on_progress)
    recipe = victim.component.recipe
    curve: list[dict[str, float | None]] = []
    with meter:
        viewed, view_seconds = _view(defense, test, ctx)
        judged = resident(viewed, ctx.device)
        sample = resident(_sample(train, ctx), ctx.device)
        model = build(lambda: victim.component.build(train.info), ctx)
        batches = Batches(
            train,
            ctx.device,
            recipe.batch_size,
            ctx.generator("batch-order"),
            crop_padding=recipe.crop_padding,
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
        "logs": ctx.logs,
    }
    return _manifest(job, meter, payload), {"predictions": predictions.to(torch.int32)}


def _share_right(predictions: Tensor, labels: Tensor) -> float:
    return float((predictions == labels.cpu()).double().mean())


def _view(defense: Any, test: ImageSet, ctx: Context) -> tuple[ImageSet, float | None]:
    """The test images as the victim sees them, and the seconds that took (None if they are shown as they are)."""
    if not isinstance(defense, SeesTestImages):
        return test, None
    with _untouched(test, "the defense's view"):
        start = time.perf_counter()
        with ctx.phase("view"):
            images = defense.view(test.images)
        seconds = time.perf_counter() - start
    if images is test.images:
        return test, None
    viewed = replace(test, images=images)
    check_same_kind("the defense's view", viewed, test)
    return viewed, seconds


def _sample(train: ImageSet, ctx: Context) -> ImageSet:
    order = torch.randperm(len(train), generator=ctx.generator("curve-sample"))
    return train.take(order[:_CURVE_SAMPLE].sort().values)


def _loss(defense: Any, model: torch.nn.Module, ctx: Context) -> Loss:
    if not isinstance(defense, TrainsDifferently):
        return cross_entropy(model)
    return lambda batch: defense.batch_loss(model, batch.images_01, batch.labels, ctx)


def check_same_kind(who: str, result: object, given: ImageSet) -> None:
    """Raises ContractError unless `result` has the shape, type, labels and info of `given`."""
    if not isinstance(result, ImageSet):
        raise ContractError(f"{who} returned {type(result).__name__}, expected an ImageSet")
    if result.images.shape != given.images.shape:
        raise ContractError(
            f"{who} returned images {tuple(result.images.shape)}, expected {tuple(given.images.shape)}: "
            "same count, order and size"
        )
    if not torch.equal(result.labels, given.labels):
        changed = int((result.labels != given.labels).sum())
        raise ContractError(f"{who} changed {changed} of {len(given)} labels; labels are not a defense's to change")
    if result.info != given.info:
        raise ContractError(f"{who} changed the data set's info to {result.info}, expected {given.info}")


def check_budget(attack: Selected, poisoned: ImageSet, clean: ImageSet, mask: Tensor) -> None:
    """Raises ContractError if an image exceeds the declared budget after rounding, or changed outside the mask."""
    budget = attack.component.budget
    allowed = budget.allowed(clean.info.shape)
    for start in range(0, len(clean), 2048):
        here = slice(start, start + 2048)
        sizes = budget.measure(clean.images[here], poisoned.images[here])
        worst = int(sizes.argmax())
        if sizes[worst] > allowed:
            raise ContractError(
                f"poison {attack.name!r} exceeds its budget {budget}: {budget.norm} {float(sizes[worst]):.4g} > "
                f"{allowed:.4g} after rounding to 8 bits (image {start + worst}); project before rounding"
            )
        touched = (clean.images[here] != poisoned.images[here]).flatten(1).any(dim=1) & ~mask[here]
        if touched.any():
            raise ContractError(
                f"poison {attack.name!r} changed image {start + int(touched.nonzero()[0])} outside its poison_rate"
            )


def _dataset(job: Job) -> data.Splits:
    splits = data.load(job.dataset, Path(job.data_root))
    if splits.digests != job.digests:
        raise ContractError(f"data set {job.dataset!r} changed since the plan was made; run the same command again")
    return splits


def _images_of(job: Job, store: Store, stage: str) -> ImageSet:
    """The images an earlier stage passed on, following stages that changed nothing back to the data set."""
    train = _dataset(job).train
    while stage != "dataset":
        manifest = store.manifest(stage, job.inputs[stage])
        if not manifest.alias_of:
            return replace(train, images=store.read(stage, job.inputs[stage])["images"])
        stage = manifest.alias_of
    return train


def _context(job: Job, scope: str, scratch: Path, on_progress: OnProgress) -> tuple[Context, Meter]:
    device = torch.device(job.device)
    meter = Meter(device)
    return Context(job.seed, device, scratch, scope, meter, on_progress), meter


def _artifact(
    job: Job,
    ctx: Context,
    meter: Meter,
    result: ImageSet,
    alias_of: str,
    scores: dict[str, float | None],
    tensors: dict[str, Tensor],
) -> tuple[Manifest, dict[str, Tensor]]:
    manifest = _manifest(job, meter, {"scores": scores, "logs": ctx.logs})
    if alias_of:
        return replace(manifest, alias_of=alias_of), {}
    return manifest, {"images": result.images, **tensors, **ctx.kept}


def _manifest(job: Job, meter: Meter, payload: dict[str, Any]) -> Manifest:
    return Manifest(job.key, job.stage, job.preimage, "", 0, "", meter.cost(), payload, environment(job.device))


def environment(device: str) -> dict[str, Any]:
    """Versions and machine, stored with every artifact."""
    packages = ("purify-bench", "torch", "torchvision", "timm", "numpy")
    return {
        "device": device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cuda": torch.version.cuda if device.startswith("cuda") else None,
        **{package: version(package) for package in packages},
    }


_STAGES = {"poison": _poison, "purify": _purify, "train": _train}
