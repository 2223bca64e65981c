"""Checks of every result: same kind, budget respected, input left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.api import ImageSet
from bench.api.budget import Budget, BudgetSum
from bench.datasets import loading
from bench.datasets.splits import content_head
from bench.errors import ContractError
from bench.store.fingerprint import Fingerprint

_CHUNK = 256  # images whose differences stay in a CPU's caches


@contextmanager
def untouched(images: ImageSet, who: str, known: Fingerprint | None = None) -> Iterator[None]:
    """Raises ContractError if the block changes the images; what the process has cached of them is then dropped.

    Args:
        images: pixels, labels and aspect ratios are compared.
        who: for the message.
        known: of the pixels before the block; computed if it is None.
    """
    head = content_head(images)
    before = known or Fingerprint.of(head, images.images)
    try:
        yield
    finally:
        if content_head(images) != head or not before.fits(images.images):
            loading.load.cache_clear()
            raise ContractError(f"{who} modified its input in place; work on a copy")


def check_same_kind(who: str, result: object, given: ImageSet) -> None:
    """Raises ContractError unless `result` has the shape, type, labels and info of `given`.

    Neither it nor its tensors may be of a subclass, which could compute when it is read: outside the meter.
    """
    if type(result) is not ImageSet:
        raise ContractError(f"{who} returned {type(result).__name__}, expected an ImageSet")
    for name in ("images", "labels"):
        if type(tensor := getattr(result, name)) is not Tensor:
            raise ContractError(f"{who} returned {name} as {type(tensor).__name__}, expected a plain torch.Tensor")
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


def check_budget(name: str, budget: Budget | BudgetSum, poisoned: ImageSet, given: ImageSet, mask: Tensor) -> None:
    """Raises ContractError if an image exceeds the declared budget, changed outside the mask, or if none changed.

    Args:
        name: of the attack.
        budget: what it promised.
        poisoned: what it made.
        given: what it made it of: the clean images, or those of the attacks before it in a chain.
        mask: bool (N,), the images it may change.
    """
    allowed, changed = budget.allowed(given.info.shape), False
    for start in range(0, len(given), _CHUNK):
        here = slice(start, start + _CHUNK)
        sizes = budget.measure(given.images[here], poisoned.images[here])
        worst = int(sizes.argmax())
        if sizes[worst] > allowed:
            raise ContractError(
                f"poison {name!r} exceeds its budget {budget}: {budget.norm} {float(sizes[worst]):.4g} > "
                f"{allowed:.4g} after rounding to 8 bits (image {start + worst}); project before rounding"
            )
        touched = (given.images[here] != poisoned.images[here]).flatten(1).any(dim=1)
        changed = changed or bool(touched.any())
        outside = touched & ~mask[here]
        if outside.any():
            raise ContractError(
                f"poison {name!r} changed image {start + int(outside.nonzero()[0])} outside its poison_rate or classes"
            )
    if not changed and budget != Budget("linf", 0):
        raise ContractError(f"poison {name!r} changed no image within its budget {budget} (in 8 bits); strengthen it")
