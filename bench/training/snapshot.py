"""A network put back to what it was: weights, running statistics, and all that its modules hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

_CONTAINERS = (dict, list, set)  # of parameters, buffers, submodules, hooks and what else a module keeps

Held = dict[str, tuple[Any, Any]]


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """After the block the network is as before: nothing that the block attached to it, or changed in it, is left.

    That is the value, the `requires_grad` and the attributes of every parameter and buffer, and of every module its
    class, its attributes, parameters, buffers, submodules and hooks. Gradients stay. What has not changed is not
    touched, so that compiled code stays valid.
    """
    modules = [(module, type(module), held(module)) for module in model.modules()]
    tensors = [
        (tensor, tensor.detach().clone(), tensor.requires_grad, held(tensor))
        for tensor in (*model.parameters(), *model.buffers())
        if not is_lazy(tensor)  # has no value yet
    ]
    try:
        yield
    finally:
        for module, kind, attributes in modules:
            if type(module) is not kind:
                module.__class__ = kind
            put_back(module, attributes)
        with torch.no_grad():
            for tensor, value, wanted, attributes in tensors:
                tensor.copy_(value)
                tensor.requires_grad_(wanted)
                put_back(tensor, attributes)


def held(thing: nn.Module | torch.Tensor) -> Held:
    """Each attribute, and a copy of it where it is a container."""
    return {
        name: (value, copy.copy(value) if isinstance(value, _CONTAINERS) else None)
        for name, value in vars(thing).items()
    }


def put_back(thing: nn.Module | torch.Tensor, before: Held) -> None:
    """Gives a module or a tensor the attributes of `held`; containers stay the same objects."""
    there = vars(thing)
    for name in there.keys() - before.keys():
        del there[name]
    for name, (value, content) in before.items():
        if name not in there or there[name] is not value:
            there[name] = value
        if content is None or _parts(value) == _parts(content):
            continue
        if isinstance(value, list):
            value[:] = content
        else:
            value.clear()
            value.update(content)


def _parts(container: Any) -> Any:
    """Keys and identities of what a container holds."""
    if isinstance(container, dict):
        return [(key, id(value)) for key, value in container.items()]
    return [id(value) for value in container] if isinstance(container, list) else {id(value) for value in container}
