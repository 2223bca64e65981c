"""What every plug-in must keep, as functions; `bench check` runs them, and the test suite does on the whole registry.

Each check takes the component and raises ContractError with what was wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.api import Context, ImageSet, SeesTestImages, TrainsDifferently
from bench.data import Splits, content_digest
from bench.errors import ContractError
from bench.spec import Selected
from bench.stages import check_budget, check_same_kind, craft

Check = Callable[[Selected, Splits], None]


@contextmanager
def _context(selected: Selected, seed: int = 0) -> Iterator[Context]:
    with tempfile.TemporaryDirectory() as scratch:
        yield Context(seed, torch.device("cpu"), Path(scratch), selected.name)


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _result(selected: Selected, images: ImageSet, seed: int = 0) -> ImageSet:
    """What the attack or defense makes of the images (a copy: scratch files are gone afterwards)."""
    with _context(selected, seed) as ctx:
        if hasattr(selected.component, "poison"):
            result, _ = craft(selected.component, images, ctx)
        else:
            result = selected.component.purify(images, ctx)
        return replace(result, images=result.images.clone()) if isinstance(result, ImageSet) else result


def keeps_shape_and_labels(selected: Selected, tiny: Splits) -> None:
    """uint8 images of the same count, order and size, with the same labels."""
    check_same_kind(selected.name, _result(selected, tiny.train), tiny.train)


def leaves_its_input_alone(selected: Selected, tiny: Splits) -> None:
    """The input is not modified in place."""
    before = content_digest(tiny.train)
    _result(selected, tiny.train)
    _demand(content_digest(tiny.train) == before, "modifies its input in place; work on a copy")


def repeats_with_the_same_seed(selected: Selected, tiny: Splits) -> None:
    """The same seed gives the same bytes, whatever the process drew before."""
    torch.manual_seed(1)
    once = _result(selected, tiny.train)
    torch.manual_seed(2)
    again = _result(selected, tiny.train)
    _demand(
        torch.equal(once.images, again.images),
        "two runs with the same seed differ; draw all random numbers from ctx.generator(purpose)",
    )


def ignores_its_seed_if_deterministic(selected: Selected, tiny: Splits) -> None:
    """A component registered as deterministic gives the same bytes for every seed."""
    if selected.entry.deterministic:
        one, two = (_result(selected, tiny.train, seed).images for seed in (0, 1))
        _demand(torch.equal(one, two), "is registered deterministic=True but depends on its seed")


def takes_other_class_counts(selected: Selected, tiny: Splits) -> None:
    """Works with three classes and an odd number of images."""
    rows = (tiny.train.labels < 3).nonzero().flatten()
    rows = rows[: len(rows) - (len(rows) % 2 == 0)]
    few = tiny.train.take(rows)
    few = replace(few, info=replace(few.info, num_classes=3))
    check_same_kind(selected.name, _result(selected, few), few)


def respects_its_budget(selected: Selected, tiny: Splits) -> None:
    """The perturbation stays within the declared budget after rounding to 8 bits."""
    with _context(selected) as ctx:
        poisoned, mask = craft(selected.component, tiny.train, ctx)
        check_budget(selected, poisoned, tiny.train, mask)


def view_is_a_view(selected: Selected, tiny: Splits) -> None:
    """The test-time view keeps shape and type, does not depend on the batch and leaves its input alone."""
    if not isinstance(selected.component, SeesTestImages):
        return
    images = tiny.test.images
    before = images.clone()
    viewed = selected.component.view(images)
    _demand(torch.equal(images, before), "view modifies the test images in place")
    check_same_kind("view", replace(tiny.test, images=viewed), tiny.test)
    one_by_one = torch.cat([selected.component.view(images[i : i + 1]) for i in range(len(images))])
    _demand(torch.equal(viewed, one_by_one), "view depends on the batch; it must see each image alone")


def batch_loss_is_a_loss(selected: Selected, tiny: Splits) -> None:
    """The training-time loss is a finite scalar with a gradient, and leaves the model's modes as they were."""
    if not isinstance(selected.component, TrainsDifferently):
        return
    pixels = tiny.train.images[0].numel()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, tiny.train.info.num_classes)).train()
    images_01 = tiny.train.images[:8].float() / 255
    with _context(selected) as ctx:
        loss = selected.component.batch_loss(model, images_01, tiny.train.labels[:8], ctx)
    _demand(loss.ndim == 0 and bool(torch.isfinite(loss)), f"batch_loss must be a finite scalar, got {loss}")
    loss.backward()  # type: ignore[no-untyped-call]
    _demand(all(p.grad is not None for p in model.parameters()), "batch_loss has no gradient to the model")
    _demand(model.training, "batch_loss leaves the model in eval mode")
    _demand(all(p.requires_grad for p in model.parameters()), "batch_loss leaves parameters frozen")


def builds_a_classifier(selected: Selected, tiny: Splits) -> None:
    """Logits (B, K) from float images in [0, 1], for one image and for several, the same in eval mode."""
    info = tiny.train.info
    model = selected.component.build(info).eval()
    images_01 = tiny.train.images[:4].float() / 255
    with torch.no_grad():
        logits: Tensor = model(images_01)
        one_by_one = torch.cat([model(image[None]) for image in images_01])
    _demand(tuple(logits.shape) == (4, info.num_classes), f"logits are {tuple(logits.shape)}, expected (4, K)")
    _demand(torch.allclose(logits, one_by_one, atol=1e-4), "logits depend on the batch in eval mode")


def trains(selected: Selected, tiny: Splits) -> None:
    """One step of the recipe's loss gives every parameter a finite gradient."""
    model = selected.component.build(tiny.train.info).train()
    logits = model(tiny.train.images[:8].float() / 255)
    torch.nn.functional.cross_entropy(logits, tiny.train.labels[:8]).backward()  # type: ignore[no-untyped-call]
    bad = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    _demand(not bad, f"no finite gradient for {', '.join(bad[:5])}")
    _demand(selected.component.recipe.epochs >= 1, "the recipe has no epochs")


_ALWAYS: tuple[Check, ...] = (
    keeps_shape_and_labels,
    leaves_its_input_alone,
    repeats_with_the_same_seed,
    ignores_its_seed_if_deterministic,
    takes_other_class_counts,
)

CHECKS: dict[str, tuple[Check, ...]] = {
    "attacks": (*_ALWAYS, respects_its_budget),
    "defenses": (*_ALWAYS, view_is_a_view, batch_loss_is_a_loss),
    "victims": (builds_a_classifier, trains),
}
