"""Before the first step of a training: its first use, uncharged, and the choice between plain steps and replayed ones.

Everything here runs on random images with random labels, and leaves no trace: the network and all that its modules
hold, torch's generators and `ctx` are as before, without gradients. What a loss keeps of a rehearsal, which is not
charged, is of no use to the training.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Context, Recipe
from bench.errors import in_one_line
from bench.training import graph
from bench.training.batches import Batches
from bench.training.numbers import autocast
from bench.training.optimizer import Stepper
from bench.training.seeding import seeded
from bench.training.snapshot import restored
from bench.training.step import Loss, Step

_STEPS, _UNTIMED = 8, 2  # of a trial; the first one is plain and the second one captures
_TOLERANCE = 0.005  # of a loss, and of the distance that the weights go; a number in bfloat16 is off by up to 0.4 %
_NOISE = 4  # times the difference between two plain runs, which need not add in the same order
_MOST_NOISE = 0.02  # beyond that, plain runs differ by more than rounding


def rehearse(model: nn.Module, batches: Batches, loss: Loss, recipe: Recipe, ctx: Context) -> None:
    """Forward and backward for a batch of every size; the optimizer's step on a weight of its own."""
    with _undone(model, (), ctx):
        model.train()
        generator = ctx.generator("rehearsal-images")
        for size in batches.sizes:
            batch = batches.augmented(batches.noise(size, generator))
            with autocast(ctx.device), ctx.training_step():
                value = loss(batch)
            value.backward()  # type: ignore[no-untyped-call]
    weight = nn.Parameter(torch.ones(1, device=ctx.device))
    Stepper([{"params": [weight]}], recipe, 1).step(weight.sum())


def replays(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    groups: Sequence[dict[str, Any]],
    recipe: Recipe,
    ctx: Context,
    phase: str,
    replayable: bool,
) -> bool:
    """True if the steps of this training are to be replayed from a graph, as the engine allows.

    A few steps run plainly, twice, and replayed, from the same state on the same batches. Their learning rates rise to
    the recipe's and fall again, so that a rate or an optimizer that stays as it was captured is seen. Replaying needs
    equal losses and weights that go equally far, up to 0.5 % or four times the difference between the plain runs.
    Engine `auto` takes the faster, `graph` replays whatever the times. Logs the choice, the seconds of a step both
    ways, and a reason for plain steps, under SCOPE.PHASE.
    """
    if ctx.engine.mode not in ("graph", "auto") or not graph.possible(ctx.device):
        return False
    name = f"{ctx.scope}.{phase}"
    reason = "" if replayable else "the loss is not declared replayable"
    if not reason:
        trial = partial(_trial, model, batches, loss, groups, recipe, ctx)
        plain, seconds = trial(replayed=False)
        again, _ = trial(replayed=False)
        ctx.log(f"{name}.eager_step_seconds", seconds)
        try:
            found, faster = trial(replayed=True)
        except RuntimeError as error:  # torch's, for whatever cannot be captured
            reason = f"not captured: {_first_error(error)}"
        else:
            ctx.log(f"{name}.graph_step_seconds", faster)
            reason = _differs(plain, again, found)
            if not reason and ctx.engine.mode == "auto" and faster >= seconds:
                reason = "not faster"
    ctx.log(f"{name}.engine", "eager" if reason else "graph")
    if reason:
        ctx.log(f"{name}.engine_reason", reason)
    return not reason


def _trial(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    groups: Sequence[dict[str, Any]],
    recipe: Recipe,
    ctx: Context,
    replayed: bool,
) -> tuple[Tensor, float]:
    """The loss of every step and then the distance that all weights went, on the CPU, and the seconds of a step."""
    one_cycle = replace(recipe, schedule="one-cycle", epochs=_STEPS, warmup_epochs=0, milestones=())
    images = ctx.generator("rehearsal-images")
    drawn = [batches.noise(batches.sizes[-1], images) for _ in range(_STEPS)]
    parameters = [parameter for group in groups for parameter in group["params"]]
    with _undone(model, parameters, ctx), graph.own_stream(ctx.device):
        start = [parameter.detach().clone() for parameter in parameters]
        step = Step.new(batches, loss, Stepper(groups, one_cycle, 1, capturable=replayed), ctx)
        take = graph.Replayed(step) if replayed else step
        losses = []
        model.train()
        for number, batch in enumerate(drawn):
            if number == _UNTIMED:
                started = _now(ctx.device)
            take(batch)
            step.stepper.advance()
            losses.append(step.total.clone())
        seconds = (_now(ctx.device) - started) / (_STEPS - _UNTIMED)
        gone = nn.utils.get_total_norm([now.detach() - then for now, then in zip(parameters, start, strict=True)])
        return torch.cat([torch.stack(losses).cpu().diff(prepend=torch.zeros(1)), gone.cpu().reshape(1)]), seconds


def _first_error(error: BaseException) -> str:
    """The error that spoiled a capture, which raises once more when it ends."""
    first = error.__context__ or error
    return f"{type(first).__name__}: {in_one_line(str(first))}"


def _differs(plain: Tensor, again: Tensor, found: Tensor) -> str:
    """The reason why replayed steps are not plain ones; "" if losses and distance differ by rounding alone."""
    scale = plain.abs().clamp(min=1e-6)
    noise, difference = (float(((other - plain).abs() / scale).max()) for other in (again, found))
    if not noise <= _MOST_NOISE:  # also NaN
        return f"losses or weights of two plain runs differ by {noise:.2%}"
    if difference <= max(_TOLERANCE, _NOISE * noise):  # false for NaN
        return ""
    return f"losses or weights differ by {difference:.2%} from plain ones, which differ by {noise:.2%} among themselves"


@contextmanager
def _undone(model: nn.Module, parameters: Iterable[nn.Parameter], ctx: Context) -> Iterator[None]:
    """Forgets what the block does to the model, to further parameters, to torch's generators and to `ctx`."""
    whole = nn.ModuleList([model, nn.ParameterList(parameters)])
    with restored(whole), ctx.rehearsal(), seeded(ctx.generator("rehearsal"), ctx.device):
        yield
    whole.zero_grad(set_to_none=True)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
