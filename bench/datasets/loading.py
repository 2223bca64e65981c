"""Loads the data set that a selection names, once per process."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from bench.datasets.splits import Splits
from bench.errors import UserError
from bench.registry import datasets
from bench.select.spec import select


@functools.lru_cache(maxsize=2)
def load(text: str, root: Path) -> Splits:
    """The data set a selection names, once a process.

    Raises:
        UserError: for an unknown name, missing or damaged files, labels out of range, one class only.
    """
    chosen = select(datasets, text)
    if len(chosen) != 1:
        raise UserError(f"one data set at a time, got {text!r}")
    selected = chosen[0]
    try:
        splits: Splits = selected.component.load(root)
    except ValueError as error:
        raise UserError(f"dataset {selected.text!r}: {error}") from error
    for name, split in (("training", splits.train), ("test", splits.test)):
        if len(split) == 0:
            raise UserError(f"dataset {selected.text!r} has no {name} images")
    present = torch.unique(splits.train.labels).tolist()
    if len(present) < 2:
        raise UserError(
            f"dataset {selected.text!r}: all {len(splits.train)} training images are of class {present[0]}, "
            "and there is nothing to tell apart; give images of at least 2 classes"
        )
    return splits
