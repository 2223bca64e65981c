"""Contexts of the parts of a chain: the random numbers that a part has alone; what it reports bears its name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from bench.api.context import Context
from bench.api.harness_only import harness_only


@dataclass(frozen=True)
class _MeterOf:
    """Phases of a chain's part, by its name: `em.noise`."""

    name: str
    meter: Any

    def phase(self, name: str) -> AbstractContextManager[None]:
        timed: AbstractContextManager[None] = self.meter.phase(f"{self.name}.{name}")
        return timed

    def warm(self) -> AbstractContextManager[None]:
        harness_only("warm")
        rehearsal: AbstractContextManager[None] = self.meter.warm()
        return rehearsal


def part_of_chain(name: str, ctx: Context) -> Context:
    """The context a part of a chain has when it is run alone, but for the names of its phases."""
    scratch = ctx.scratch / f"part-{name}"
    scratch.mkdir()
    return Context(
        ctx.seed,
        ctx.device,
        scratch,
        name,
        _MeterOf(name, ctx.meter),
        lambda done, total, note: ctx.on_progress(done, total, f"{name}: {note}" if note else name),
        ctx.resident_bytes,
        ctx.engine,
    )


def pass_on(name: str, own: Context, ctx: Context) -> None:
    """Logs and kept tensors of a part, by its name; `converged` also for the whole chain: whether all parts did."""
    for key, value in own.recorded().items():
        ctx.logs[f"{name}.{key}"] = value
    for key, tensor in own.kept.items():
        ctx.kept[f"{name}.{key}"] = tensor
    if "converged" in own.logs:
        ctx.logs["converged"] = bool(own.logs["converged"]) and bool(ctx.logs.get("converged", True))
