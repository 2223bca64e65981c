"""A network judged as it was built, with the weights it has now: what a training attached to it takes no part.

A loss may register hooks on the network that it trains. In an evaluation, whose time is in no cost, such a hook would
train on, or look at test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.errors import ContractError
from bench.training.snapshot import Held, held, put_back

_PLAIN = (bool, int, float, complex, str, bytes, type(None), Tensor, torch.device, torch.dtype, torch.Size)
_PLAIN_CONTAINERS = (list, tuple, set, frozenset)


class AsBuilt:
    """Parts, hooks and methods of a network, remembered when it is built.

    Args:
        model: whose training has not begun.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = [(module, type(module), held(module)) for module in model.modules()]
        self._parts, self._methods = _parts(model), _methods(model)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Inside the block, hooks and methods are those of the network as built; afterwards those of its training.

        Plain values that a module keeps, such as buffers and counters, stay as they are.

        Raises:
            ContractError: if a layer, a weight or a method of a layer's class is another object than at first, or if
                the block changes the value of a weight or a buffer.
        """
        parts, methods = _parts(self._model), _methods(self._model)
        for name in (*sorted(parts.keys() ^ self._parts.keys()), *parts):
            if parts.get(name) is not self._parts.get(name):
                raise ContractError(
                    f"{name!r} of the victim was replaced, added or removed in its training; a defense may change "
                    "values of weights and register hooks, and the network that is judged is the one that was built"
                )
        for name, method in self._methods.items():
            if methods.get(name, method) is not method:
                raise ContractError(f"{name} was replaced in the victim's training; a defense must leave classes alone")
        trained = [(module, type(module), held(module)) for module, _, _ in self._modules]
        for module, kind, attributes in self._modules:
            _become(module, kind, attributes | _plain_now(module, attributes))
        before = _sums(self._model)
        try:
            yield
        finally:
            after = _sums(self._model)
            for module, kind, attributes in trained:
                _become(module, kind, attributes)
        if not torch.equal(before, after):
            raise ContractError("weights or buffers of the victim changed while it was evaluated, outside its training")


def _become(module: nn.Module, kind: type[nn.Module], attributes: Held) -> None:
    if type(module) is not kind:
        module.__class__ = kind
    put_back(module, attributes)


def _plain_now(module: nn.Module, built: Held) -> Held:
    """Attributes that compute nothing, as they are now."""
    return {
        name: now
        for name, now in held(module).items()
        if _is_plain(now[0]) and (name not in built or _is_plain(built[name][0]))
    }


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if type(value) in _PLAIN_CONTAINERS:
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


def _parts(model: nn.Module) -> dict[str, Any]:
    """Layers and weights by name."""
    layers = dict(model.named_modules(remove_duplicate=False))
    return layers | dict(model.named_parameters(remove_duplicate=False))


def _methods(model: nn.Module) -> dict[str, Any]:
    """Functions of the layers' classes that a call runs, by name."""
    kinds = {type(module) for module in model.modules()}
    return {f"{kind.__name__}.{name}": getattr(kind, name) for kind in kinds for name in ("__call__", "forward")}


def _sums(model: nn.Module) -> Tensor:
    """The sum of every weight and buffer, as bits: equal also where they are NaN."""
    tensors = (*model.parameters(), *model.buffers())
    sums = [tensor.detach().sum(dtype=torch.float64) for tensor in tensors if not is_lazy(tensor)]
    return torch.stack(sums).view(torch.int64) if sums else torch.empty(0)
