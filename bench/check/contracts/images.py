"""Checks of components that make images of images: attacks, and defenses that purify."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.api import ImageSet
from bench.api.engine import Engine
from bench.check.contracts.demands import context, demand
from bench.datasets.splits import Splits, content_digest
from bench.select.spec import Selected
from bench.stages.crafting import craft
from bench.stages.invariants import check_budget, check_same_kind


def keeps_shape_and_labels(selected: Selected, tiny: Splits) -> None:
    """uint8 images of the same count, order and size, with the same labels."""
    check_same_kind(selected.name, _result(selected, tiny.train), tiny.train)


def leaves_its_input_alone(selected: Selected, tiny: Splits) -> None:
    """The input is not modified in place."""
    before = content_digest(tiny.train)
    _result(selected, tiny.train)
    demand(content_digest(tiny.train) == before, "modifies its input in place; work on a copy")


def repeats_with_the_same_seed(selected: Selected, tiny: Splits) -> None:
    """The same seed gives the same bytes, whatever the process drew before."""
    torch.manual_seed(1)
    once = _result(selected, tiny.train)
    torch.manual_seed(2)
    again = _result(selected, tiny.train)
    demand(
        torch.equal(once.images, again.images),
        "two runs with the same seed differ; draw all random numbers from ctx.generator(purpose)",
    )


def ignores_its_seed_if_deterministic(selected: Selected, tiny: Splits) -> None:
    """A component registered as deterministic gives the same bytes for every seed."""
    one, two = (_result(selected, tiny.train, seed).images for seed in (0, 1))
    demand(torch.equal(one, two), "is registered deterministic=True but depends on its seed")


def takes_other_class_counts(selected: Selected, tiny: Splits) -> None:
    """Works with three classes and an odd number of images."""
    rows = (tiny.train.labels < 3).nonzero().flatten()
    rows = rows[: len(rows) - (len(rows) % 2 == 0)]
    few = tiny.train.take(rows)
    few = replace(few, info=replace(few.info, num_classes=3))
    check_same_kind(selected.name, _result(selected, few), few)


def respects_its_budget(selected: Selected, tiny: Splits) -> None:
    """The perturbation stays within the declared budget after rounding to 8 bits."""
    with context(selected) as ctx:
        poisoned, mask = craft(selected.component, tiny.train, ctx)
        check_budget(selected.name, selected.component.budget, poisoned, tiny.train, mask)


def works_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default it keeps shape, labels and, if it is an attack, its budget."""
    with Engine(precision="bfloat16").applied():
        (respects_its_budget if hasattr(selected.component, "budget") else keeps_shape_and_labels)(selected, tiny)


def stacks_as_it_poisons(selected: Selected, tiny: Splits) -> None:
    """Onto clean images an attack of a chain writes what it writes alone; onto others it keeps its budget."""
    attack: Any = selected.component
    clean = tiny.train
    with context(selected) as ctx:
        onto_clean = attack.poison_onto(clean, replace(clean, images=clean.images.clone()), ctx).images.clone()
    with context(selected) as ctx:
        same = torch.equal(onto_clean, attack.poison(clean, ctx).images)
    demand(same, "poison_onto(clean, clean) differs from poison(clean)")
    negative = replace(clean, images=255 - clean.images)
    with context(selected) as ctx:
        result = attack.poison_onto(clean, negative, ctx)
        check_same_kind(selected.name, result, clean)
        check_budget(selected.name, attack.budget, result, negative, torch.ones(len(clean), dtype=torch.bool))


def _result(selected: Selected, images: ImageSet, seed: int = 0) -> ImageSet:
    """Result of the attack or defense on the images (a copy: scratch files are gone afterwards)."""
    with context(selected, seed) as ctx:
        if hasattr(selected.component, "budget"):
            result, _ = craft(selected.component, images, ctx)
        else:
            result = selected.component.purify(images, ctx)
        return replace(result, images=result.images.clone()) if isinstance(result, ImageSet) else result
