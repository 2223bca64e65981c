"""Checks of victims: the network and its training, or its fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import ImageSet
from bench.api.engine import Engine
from bench.check.contracts.demands import context, demand
from bench.datasets.splits import Splits
from bench.select.spec import Selected
from bench.training import autocast


def builds_a_classifier(selected: Selected, tiny: Splits) -> None:
    """Logits (B, K) from float images in [0, 1], for one image and for several, the same in eval mode."""
    _classifies(selected.component.build(tiny.train.info), tiny.train)


def fits_a_classifier(selected: Selected, tiny: Splits) -> None:
    """The same of a victim that is fitted at once; `fit` leaves the images alone."""
    before = tiny.train.images.clone()
    model = _fitted(selected, tiny.train)
    demand(torch.equal(tiny.train.images, before), "fit modified its input in place; work on a copy")
    _classifies(model, tiny.train)


def fits_the_same_with_the_same_seed(selected: Selected, tiny: Splits) -> None:
    """Two fits give equal logits; of a victim that is registered deterministic also with another seed."""
    images_01 = tiny.test.images.float() / 255
    for seed in (0, *[1] * selected.entry.deterministic):
        with torch.no_grad():
            first, second = (_fitted(selected, tiny.train, s).eval()(images_01) for s in (0, seed))
        demand(torch.equal(first, second), f"two fits differ, with the seeds 0 and {seed}")


def fits_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default the logits are finite too."""
    with Engine(precision="bfloat16").applied(), autocast(torch.device("cpu")), torch.no_grad():
        logits = _fitted(selected, tiny.train).eval()(tiny.test.images.float() / 255)
    demand(bool(logits.isfinite().all()), "logits are NaN or infinite")


def _fitted(selected: Selected, train: ImageSet, seed: int = 0) -> nn.Module:
    with context(selected, seed) as ctx:
        model: nn.Module = selected.component.fit(train, ctx)
    return model


def _classifies(model: nn.Module, train: ImageSet) -> None:
    info = train.info
    model = model.eval()
    images_01 = train.images[:4].float() / 255
    with torch.no_grad():
        logits: Tensor = model(images_01)
        one_by_one = torch.cat([model(image[None]) for image in images_01])
    demand(tuple(logits.shape) == (4, info.num_classes), f"logits are {tuple(logits.shape)}, expected (4, K)")
    demand(torch.allclose(logits, one_by_one, atol=1e-4), "logits depend on the batch in eval mode")


def trains(selected: Selected, tiny: Splits) -> None:
    """One step of the recipe's loss gives every parameter a finite gradient."""
    model = selected.component.build(tiny.train.info).train()
    logits = model(tiny.train.images[:8].float() / 255)
    torch.nn.functional.cross_entropy(logits, tiny.train.labels[:8]).backward()  # type: ignore[no-untyped-call]
    bad = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    demand(not bad, f"no finite gradient for {', '.join(bad[:5])}")
    demand(selected.component.recipe.epochs >= 1, "the recipe has no epochs")


def trains_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default it trains too."""
    with Engine(precision="bfloat16").applied(), autocast(torch.device("cpu")):
        trains(selected, tiny)
