"""The parts that every check is made of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bench.api import Context
from bench.datasets.splits import Splits
from bench.errors import ContractError
from bench.select.spec import Selected

Check = Callable[[Selected, Splits], None]


@contextmanager
def context(selected: Selected, seed: int = 0) -> Iterator[Context]:
    """Context of one run of a component on the CPU, with a scratch folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Context(seed, torch.device("cpu"), Path(scratch), selected.name)


def demand(condition: bool, message: str) -> None:
    """Raises ContractError with the message unless the condition holds."""
    if not condition:
        raise ContractError(message)
