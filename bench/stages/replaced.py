"""Functions that time, train and judge: a stage fails if a plug-in has put another in place of one of them."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch.nn import functional

from bench.errors import ContractError

_ROOMS = ("bench.measure", "bench.training", "bench.stages")

_Functions = dict[str, Any]


@contextmanager
def none_replaced() -> Iterator[None]:
    """Compares functions by identity before and after the block: torch's and Python's with those of the first import.

    Raises:
        ContractError: naming the first one that is another.
    """
    _compare(_AT_FIRST, _of_libraries())
    before = _of_the_harness()
    yield
    _compare(_AT_FIRST, _of_libraries())
    _compare(before, _of_the_harness())


def _compare(before: _Functions, after: _Functions) -> None:
    for name, function in before.items():
        if after.get(name) is not function:
            raise ContractError(f"{name} was replaced by a plug-in; call functions of one's own by names of their own")


def _of_libraries() -> _Functions:
    """Those whose replacement would change what every training does or how long it seems to take."""
    found = {
        "torch.nn.functional.cross_entropy": functional.cross_entropy,
        "torch.nn.functional.conv2d": functional.conv2d,
        "torch.nn.functional.linear": functional.linear,
        "torch.nn.Module.__call__": torch.nn.Module.__call__,
        "torch.Tensor.backward": torch.Tensor.backward,
        "time.perf_counter": time.perf_counter,
        "time.process_time": time.process_time,
    }
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        found[f"torch.optim.{kind.__name__}.step"] = inspect.unwrap(kind.step)  # torch wraps it at its first use
    return found


def _of_the_harness() -> _Functions:
    found: _Functions = {"torch.cuda.synchronize": torch.cuda.synchronize}
    for name, module in list(sys.modules.items()):
        if not name.startswith(_ROOMS):
            continue
        for part, value in vars(module).items():
            if isinstance(value, FunctionType):
                found[f"{name}.{part}"] = value
            elif isinstance(value, type) and value.__module__ == name:
                methods = {key: method for key, method in vars(value).items() if isinstance(method, FunctionType)}
                found |= {f"{name}.{part}.{key}": method for key, method in methods.items()}
    return found


_AT_FIRST = _of_libraries()
