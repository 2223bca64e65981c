"""Meter: what a stage costs on its device. Only the core measures; plug-ins name phases.

Every clock reading waits for the device first. Memory peaks are reset when the stage begins. Energy is the difference
of the GPU's own cumulative counter. A stage during which other processes used the device is marked not exclusive, and
its cost is shown but never ranked.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.engine import Engine
from bench.results import Cost

_OTHERS_SHARE = 0.15  # of the processors' time; more than this used by other processes is not exclusive


class Meter:
    """Measures one stage: `with Meter(device) as meter: ...`, then `meter.cost()`."""

    def __init__(self, device: torch.device, engine: Engine | None = None) -> None:
        self._device, self._engine = device, engine or Engine()
        self._phases: dict[str, float] = {}
        self._board = _GpuBoard.open(device)

    def __enter__(self) -> Meter:
        self._host_peak_was_reset = _reset_host_peak()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._created = datetime.now(UTC).isoformat(timespec="seconds")
        self._others_before = _cpu_seconds_of_others()
        self._joules_before = self._board.joules() if self._board else None
        self._alone_at_start = self._board.used_by_one() if self._board else None
        self._start = self._clock()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._wall = self._clock() - self._start
        joules = self._board.joules() if self._board else None
        self._joules = None if joules is None or self._joules_before is None else joules - self._joules_before
        self._exclusive = self._was_exclusive()
        gpu = self._device.type == "cuda"
        self._gpu_peak = torch.cuda.max_memory_allocated(self._device) if gpu else None
        self._host_peak = _host_peak_bytes() if self._host_peak_was_reset else None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the block's seconds to the phase `name`."""
        start = self._clock()
        try:
            yield
        finally:
            self._phases[name] = self._phases.get(name, 0.0) + self._clock() - start

    def cost(self) -> Cost:
        """The record of the finished stage."""
        return Cost(
            phases={name: round(seconds, 6) for name, seconds in self._phases.items()},
            wall_seconds=round(self._wall, 6),
            peak_gpu_bytes=self._gpu_peak,
            peak_host_bytes=self._host_peak,
            energy_joules=self._joules,
            device=device_name(self._device, self._engine),
            exclusive=self._exclusive,
            created=self._created,
        )

    def _clock(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _was_exclusive(self) -> bool | None:
        if self._board is not None:
            return self._alone_at_start and self._board.used_by_one()
        if self._device.type != "cpu":
            return None
        others = _cpu_seconds_of_others() - self._others_before
        return others <= _OTHERS_SHARE * (psutil.cpu_count() or 1) * max(self._wall, 0.1)


class _GpuBoard:
    """The NVML view of a CUDA device: cumulative energy and the processes on it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def open(cls, device: torch.device) -> _GpuBoard | None:
        if device.type != "cuda":
            return None
        try:
            import pynvml
        except ImportError:  # energy and exclusive use stay unknown
            return None
        try:
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except (pynvml.NVMLError, AttributeError):
            return None

    def joules(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except self._nvml.NVMLError:
            return None

    def used_by_one(self) -> bool | None:
        try:
            processes = len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except self._nvml.NVMLError:
            return None
        return processes == 1 if processes else None  # a container may hide them


def device_name(device: torch.device, engine: Engine | None = None) -> str:
    """The device as it is shown beside every cost: `NVIDIA H200`, `NVIDIA H200, compiled`, `AMD EPYC 7B13, 2 threads`.

    Only costs of the same name are compared, so an engine other than the default is part of it.
    """
    suffix = engine.label if engine else ""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device) + suffix
    if device.type != "cpu":
        return f"{platform.machine()} {device.type}{suffix}"
    return f"{_processor()}, {torch.get_num_threads()} threads{suffix}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpu_seconds_of_others() -> float:
    total = psutil.cpu_times()
    busy = sum(total) - total.idle - getattr(total, "iowait", 0.0) - getattr(total, "guest", 0.0)
    return busy - sum(os.times()[:4])


def _reset_host_peak() -> bool:
    """Starts a new peak of resident memory; False where the system cannot (not Linux, or not permitted)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _host_peak_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(peak.split()[1]) * 1024 if peak else None
