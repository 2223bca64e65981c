"""Loads the data set that a selection names, once per process."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from bench.datasets.splits import Splits
from bench.errors import UserError, of_component
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
    if taken := next((path for path in (root, *root.parents) if path.exists() and not path.is_dir()), None):
        raise UserError(f"data root {root}: {taken} is a file; name a folder with --data-root")
    try:
        splits: Splits = selected.component.load(root)
    except ValueError as error:
        raise UserError(of_component(f"dataset {selected.text!r}", selected.name, error)) from error
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
