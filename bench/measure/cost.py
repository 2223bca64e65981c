"""Meter: what a stage costs on its device. Only the core measures; plug-ins name phases.

Every clock reading waits for the device first. Energy is the difference of the GPU's own cumulative counter, by phase
like the seconds. Memory is the peak during the stage beyond what the process held before. The first use of a step is
rehearsed in `warm`, which is recorded and in no other figure. A stage during which other processes used the GPU or the
processors is marked not exclusive, and its cost is shown but never ranked.
"""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import torch
from torch import nn
from torch.nn import functional

from bench.api.engine import Engine
from bench.api.harness_only import harness_only
from bench.measure.probes import CpuSeconds, GpuBoard, HostMemory, alone, processor_name, processors, within_threads
from bench.store.results import Cost, pays_once

WARM = "warm"
"""The phase of rehearsals: only `Meter.warm` adds to it."""

_SECONDS, _RUNS = 1.0, 5


class Meter:
    """Measures one stage: `with Meter(device) as meter: ...`, then `meter.cost()`.

    Args:
        device: of the stage.
        engine: whose label is part of the device's name.
        shared: other processes of the same run use the device, whether or not the system shows them.
    """

    def __init__(self, device: torch.device, engine: Engine | None = None, shared: bool = False) -> None:
        self._device, self._engine, self._shared = device, engine or Engine(), shared
        self._board = GpuBoard.open(device)
        self._seconds: dict[str, float] = {}
        self._joules: dict[str, float | None] = {}
        self._open: set[str] = set()
        self._uncharged = (0.0, 0.0)

    def __enter__(self) -> Meter:
        load_libraries(self._device)
        self._memory = HostMemory()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._created = datetime.now(UTC).isoformat(timespec="seconds")
        self._others_before = CpuSeconds.now()
        self._on_board = [self._board.used_by_one() if self._board else None]
        self._threads = torch.get_num_threads()  # those in the device's name
        self._entered, self._start = time.perf_counter(), self._begin()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._wall, self._energy = self._since(self._start)
        lasted = time.perf_counter() - self._entered
        self._exclusive = self._was_exclusive(CpuSeconds.now(), lasted)
        self._gpu_peak = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
        self._host_peak = self._memory.peak_bytes()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the block's seconds and joules to the phase `name`, also if it fails.

        A phase inside another counts in both; inside itself it counts once; in a rehearsal not at all.

        Raises:
            ValueError: for `warm`, which is not charged and therefore nobody's to claim.
        """
        if name == WARM:
            raise ValueError(f"phase {name!r} is the harness's own (it is not charged); choose another name")
        if name in self._open or WARM in self._open:
            yield
            return
        with self._measured(name):
            yield

    def warm(self) -> AbstractContextManager[None]:
        """A rehearsal: what it takes is in the phase `warm`, and neither in a phase around it nor in the whole.

        Raises:
            ContractError: if a plug-in calls it.
        """
        harness_only("warm")
        return self._rehearsal()

    @contextmanager
    def _rehearsal(self) -> Iterator[None]:
        if WARM in self._open:
            yield
            return
        before = self._seconds.get(WARM, 0.0), self._joules.get(WARM) or 0.0
        try:
            with self._measured(WARM):
                yield
        finally:
            seconds, joules = self._seconds[WARM] - before[0], (self._joules[WARM] or 0.0) - before[1]
            self._uncharged = (self._uncharged[0] + seconds, self._uncharged[1] + joules)

    def seconds(self, name: str) -> float:
        """Of a phase so far."""
        return self._seconds.get(name, 0.0)

    def cost(self) -> Cost:
        """The record of the finished stage."""
        return Cost(
            phases={name: round(seconds, 6) for name, seconds in self._seconds.items()},
            wall_seconds=round(self._wall, 6),
            peak_gpu_bytes=self._gpu_peak,
            peak_host_bytes=self._host_peak,
            energy_joules=self._energy,
            device=device_name(self._device, self._engine),
            exclusive=self._exclusive,
            created=self._created,
            phase_joules={name: joules for name, joules in self._joules.items() if joules is not None},
        )

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        self._open.add(name)
        start = self._begin()
        try:
            yield
        finally:
            seconds, joules = self._since(start)
            self._open.discard(name)
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            known = self._joules.get(name, 0.0)
            self._joules[name] = None if joules is None or known is None else known + joules
            if self._board is not None:
                self._on_board.append(self._board.used_by_one())

    def _begin(self) -> tuple[float, float | None]:
        """Charged seconds and joules up to now; the clock is read last, so that it misses the reading of the energy."""
        self._wait()
        joules = self._board.joules() if self._board else None
        return time.perf_counter() - self._uncharged[0], None if joules is None else joules - self._uncharged[1]

    def _since(self, start: tuple[float, float | None]) -> tuple[float, float | None]:
        """Charged seconds and joules since then; the clock is read first."""
        self._wait()
        seconds = time.perf_counter() - self._uncharged[0] - start[0]
        joules = self._board.joules() if self._board else None
        if joules is None or start[1] is None:
            return seconds, None
        return seconds, joules - self._uncharged[1] - start[1]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _was_exclusive(self, after: CpuSeconds, lasted: float) -> bool | None:
        """False if others used the GPU or the processors, or we more than our threads; None if it could not be told.

        The processors matter on a GPU too: they feed it, and some methods run on them.
        """
        used = after - self._others_before
        answers = [not self._shared, alone(used, lasted, processors())]
        if self._engine.mode != "compile":  # compilers run in processes of their own
            answers.append(within_threads(used, lasted, self._threads))
        if self._device.type != "cpu":
            answers += [*self._on_board, self._board.used_by_one() if self._board else None]
        return _all(answers)


@functools.cache
def load_libraries(device: torch.device) -> None:
    """Once per process, before a clock starts: what torch loads at the first convolution and the first optimizer.

    That is a second of imports on a processor and cuDNN on a GPU, and belongs to no method that happens to come first.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        return
    weight = nn.Parameter(torch.zeros(1, 1, 3, 3, device=device))
    with torch.enable_grad():
        loss = functional.conv2d(torch.zeros(1, 1, 8, 8, device=device), weight).sum()
        loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD([weight], lr=0.0).step()


def another_run(seconds: Sequence[float], asked: int) -> bool:
    """True if a stage that took these seconds is run again: until a second or five runs, and as often as asked."""
    return len(seconds) < asked or (sum(seconds) < _SECONDS and len(seconds) < _RUNS)


def median_cost(runs: Sequence[Cost]) -> Cost:
    """The cost of a stage that was run several times: that of the median run, as `Cost.repeats` says.

    A first run that is clearly slower than the later ones computed what they found ready: it is the one that counts.
    """
    seconds = [run.wall_seconds for run in runs]
    middle = runs[0] if pays_once(seconds) else sorted(runs, key=lambda run: run.wall_seconds)[(len(runs) - 1) // 2]
    return replace(
        middle,
        phases={**middle.phases, **{name: s for name, s in runs[0].phases.items() if name == WARM}},
        peak_gpu_bytes=_most(run.peak_gpu_bytes for run in runs),
        peak_host_bytes=_most(run.peak_host_bytes for run in runs),
        exclusive=_all([run.exclusive for run in runs]),
        created=runs[0].created,
        repeats=seconds,
    )


def _all(answers: Sequence[bool | None]) -> bool | None:
    """False if one is false, else None if one is unknown."""
    if False in answers:
        return False
    return None if None in answers else True


def _most(values: Iterable[int | None]) -> int | None:
    measured = [value for value in values if value is not None]
    return max(measured, default=None)


def device_name(device: torch.device, engine: Engine | None = None) -> str:
    """The device as it is shown next to every cost: `NVIDIA H200, AMD EPYC 7B13, 16 threads, bfloat16`.

    Only costs of the same name are compared. So the name has the processor after a GPU, because some methods run on it,
    and then the engine's precision and modes.
    """
    suffix = engine.label if engine else ""
    processor = f"{processor_name()}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {processor}{suffix}"
    if device.type != "cpu":
        return f"{platform.machine()} {device.type}, {processor}{suffix}"
    return f"{processor}{suffix}"
