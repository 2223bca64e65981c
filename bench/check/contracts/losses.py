"""Checks of losses of training-time defenses (`batch_loss`)."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from bench.api import Context, ImageSet
from bench.api.engine import Engine, Precision
from bench.check.contracts.demands import context, demand
from bench.datasets.splits import Splits
from bench.select.spec import Selected
from bench.training import autocast, seeded, to_float

_BFLOAT16_SHARE = 0.05  # of a loss; the built-in ones differ by a thousandth


_STEPS = 8  # batches: no draw of several values is the same in all of them by chance


def batch_loss_is_a_loss(selected: Selected, tiny: Splits) -> None:
    """The training-time loss is a finite scalar whose gradient reaches the model, once."""
    model = _network(tiny)
    loss = _losses(selected, model, tiny, batches=1)[0]
    demand(loss.ndim == 0 and bool(torch.isfinite(loss)), f"batch_loss must be a finite scalar, got {loss}")
    demand(
        all(p.grad is None for p in model.parameters()),
        "batch_loss leaves gradients in the parameters; take inner gradients with torch.autograd.grad(loss, images)",
    )
    loss.backward()  # type: ignore[no-untyped-call]
    demand(all(p.grad is not None for p in model.parameters()), "batch_loss has no gradient to the model")


def batch_loss_is_the_same_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default the loss is that of float32, within 5 %."""
    found = []
    for precision in get_args(Precision):
        with Engine(precision=precision).applied(), autocast(torch.device("cpu")):
            found.append(_losses(selected, _network(tiny), tiny, batches=1)[0].item())
    expected, got = found
    demand(
        abs(got - expected) <= _BFLOAT16_SHARE * abs(expected),
        f"the loss is {expected:g} in float32 and {got:g} in bfloat16; take .float() of what the network returns",
    )


def batch_loss_leaves_the_model_as_it_was(selected: Selected, tiny: Splits) -> None:
    """Parameters, modes and requires_grad stay, module by module; no inner attack moves running statistics."""
    model = _network(tiny)
    model[1].eval()  # a network that is partly frozen
    model[1].requires_grad_(False)
    weights = [p.detach().clone() for p in model.parameters()]
    _losses(selected, model, tiny, batches=1)
    demand(
        [m.training for m in model] == [True, False, True, True, True, True, True, True],
        "batch_loss does not leave every module in the mode it was in",
    )
    demand(
        [p.requires_grad for p in model.parameters()] == [True, True, False, False, True, True, True, True],
        "batch_loss does not leave every parameter's requires_grad as it was",
    )
    demand(
        all(torch.equal(p, before) for p, before in zip(model.parameters(), weights, strict=True)),
        "batch_loss changes parameters; that is the optimizer's part",
    )
    demand(
        not _moved_inside(selected, tiny),
        "batch_loss takes a gradient inside of it in train mode, which moves the running statistics by images that "
        "the loss does not use; put the model in eval mode meanwhile (bench.training.pgd.frozen)",
    )


def batch_loss_repeats_with_the_same_seed(selected: Selected, tiny: Splits) -> None:
    """The same seed gives the same losses, whatever the process drew before."""
    found = []
    for other in (1, 2):
        model = _network(tiny)
        torch.manual_seed(other)
        found.append(torch.stack(_losses(selected, model, tiny, batches=2)).detach())
    demand(
        torch.equal(*found),
        f"two runs with the same seed differ ({found[0].tolist()} and {found[1].tolist()}); "
        "draw all random numbers from ctx.stream(purpose)",
    )


def batch_loss_draws_anew_at_every_batch(selected: Selected, tiny: Splits) -> None:
    """No random draw of torch gives the same numbers at every batch, and none comes from `ctx.generator`.

    A draw that is meant to be fixed is made once, in ctx.state. One that holds a single value (a coin, a probability
    of 1) says nothing and is not looked at, nor are generators outside of torch.
    """
    model, batch = _network(tiny), tiny.train.take(torch.arange(8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps: list[list[tuple[str, Tensor]]] = []
    with context(selected) as ctx:
        for _ in range(1 + _STEPS):
            watch = _Draws()
            with watch, ctx.training_step():  # only here: one mistake breaks one contract
                _loss(selected, model, batch, ctx)
            model.load_state_dict(before)
            steps.append(watch.found)
    for draws in zip(*steps[1:], strict=False):  # without the batch that may have made what is kept
        name, first = draws[0]
        repeated = all(other == name and torch.equal(values, first) for other, values in draws)
        demand(
            not repeated or bool((first == first.flatten()[0]).all()),
            f"torch.{name} draws the same numbers at each of {_STEPS} batches; draw from ctx.stream(purpose), which "
            "continues its sequence, or draw once in ctx.state if the numbers shall stay",
        )


def batch_loss_is_the_same_operations_if_replayable(selected: Selected, tiny: Splits) -> None:
    """A loss that is declared replayable does the same operations, with the same constants, at every batch."""
    model, batch = _network(tiny), tiny.train.take(torch.arange(8))
    steps = []
    with context(selected) as ctx:
        for _ in range(1 + _STEPS):
            watch = _Operations()
            with watch:
                _loss(selected, model, batch, ctx)
            steps.append(watch.found)
    for number, operations in enumerate(steps[2:], 3):  # the first batch may make what is kept
        changed = next((new for old, new in zip_longest(steps[1], operations) if old != new), None)
        demand(
            operations == steps[1],
            f"declared replayable, but batch {number} has other operations than batch 2, first {changed}; a graph "
            "would repeat those of batch 2: leave `replayable` out",
        )


def _network(tiny: Splits) -> torch.nn.Sequential:
    """A small network with batch normalization, in train mode; the same weights every time."""
    channels, classes = tiny.train.info.shape[0], tiny.train.info.num_classes
    with seeded(torch.Generator().manual_seed(0), torch.device("cpu")):
        return torch.nn.Sequential(
            torch.nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 8, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(32, classes),
        ).train()


def _losses(selected: Selected, model: torch.nn.Module, tiny: Splits, batches: int) -> list[Tensor]:
    """The losses of the first batches of eight images, under one context."""
    parts = [tiny.train.take(torch.arange(8 * i, 8 * i + 8)) for i in range(batches)]
    with context(selected) as ctx:
        return [_loss(selected, model, part, ctx) for part in parts]


def _loss(selected: Selected, model: torch.nn.Module, batch: ImageSet, ctx: Context) -> Tensor:
    loss: Tensor = selected.component.batch_loss(model, to_float(batch.images), batch.labels, ctx)
    return loss


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Name and result of every operation of torch that takes random numbers, in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(result, Tensor) and result.numel():
            self.found.append((func.overloadpacket.__name__.strip("_"), result.detach().clone()))
        return result


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation with the shapes of its tensors and its other arguments."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_map(_described, (args, kwargs or {}))
        self.found.append(f"{func} {given}")
        return func(*args, **(kwargs or {}))


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return "generator" if isinstance(value, torch.Generator) else value


def _moved_inside(selected: Selected, tiny: Splits) -> bool:
    """True if a gradient arrives at the logits of a train-mode forward pass before `batch_loss` returns."""
    model = _network(tiny)
    arrived: list[Tensor] = []

    def watch(module: torch.nn.Module, inputs: object, logits: Tensor) -> None:
        if module.training and logits.requires_grad:
            logits.register_hook(arrived.append)  # type: ignore[no-untyped-call]

    handle = model[-1].register_forward_hook(watch)
    try:
        _losses(selected, model, tiny, batches=1)
    finally:
        handle.remove()
    return bool(arrived)
