"""State of modules, and changes of it: globals, classes, caches, defaults and closures of functions, tensors."""

from __future__ import annotations

import functools
import importlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

_CONTAINERS = (list, tuple, deque, set, frozenset)

State = dict[str, tuple[Any, Any]]
"""Name of what a module holds -> the object (kept alive, so that its identity stays its own), and what it contains."""


def held_by(modules: Iterable[str]) -> State:
    """All that modules hold and could change, of those too that are imported only when they are needed."""
    found: State = {}
    for name in modules:
        with suppress(ImportError):
            module = importlib.import_module(name)
            parts = {part: value for part, value in vars(module).items() if not part.startswith("__")}
            _walk(name, parts, name, found, {})
    return found


def differences(before: State, after: State) -> list[str]:
    """Names of what is new, gone, another object or has another content."""
    return [
        name
        for name in {**before, **after}
        if name not in before
        or name not in after
        or before[name][0] is not after[name][0]
        or before[name][1] != after[name][1]
    ]


def _walk(path: str, value: Any, module: str, found: State, seen: dict[int, Any]) -> None:
    """Adds a value and what hangs below it: containers, and functions, classes and objects of the plug-in's module."""
    if id(value) in seen:
        return
    seen[id(value)] = value  # alive, so that its number is not another one's too
    found[path] = _content(value)
    for name, part in _parts(value, module):
        _walk(f"{path}{name}", part, module, found, seen)


def _content(value: Any) -> tuple[Any, Any]:
    """An object and what can change in it without a part of it becoming another object."""
    if isinstance(value, (*_CONTAINERS, Mapping)):
        return None, (type(value).__name__, len(value))
    if value is None or isinstance(value, (int, float, complex, str, bytes)):
        return None, (type(value).__name__, value)
    if isinstance(value, torch.Tensor):
        return value, value._version
    if isinstance(value, np.ndarray):
        return value, hash(value.tobytes())
    if isinstance(value, torch.Generator):
        return value, value.get_state().tolist()
    if isinstance(value, functools._lru_cache_wrapper):
        return value, value.cache_info()[1:]  # what was missed and what is kept; hits keep nothing
    return value, None


def _parts(value: Any, module: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f".{key}", part) for key, part in value.items())
    elif isinstance(value, _CONTAINERS):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (staticmethod, classmethod)):
        yield "", value.__func__
    elif isinstance(value, nn.Module):
        yield ".state_dict()", value.state_dict(keep_vars=True)
    elif isinstance(value, (SimpleNamespace, threading.local)):
        yield "", vars(value)
    elif getattr(value, "__module__", None) != module or isinstance(value, ModuleType):
        return
    elif isinstance(value, functools._lru_cache_wrapper):
        yield ".__wrapped__", value.__wrapped__
    elif isinstance(value, FunctionType):
        yield from ((".__dict__", vars(value)), (".__defaults__", value.__defaults__), (".closure", _closure(value)))
    elif hasattr(value, "__dict__"):
        yield "", {name: part for name, part in vars(value).items() if name not in ("__dict__", "__weakref__")}


def _closure(function: FunctionType) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # still empty
            contents.append(cell.cell_contents)
    return contents
