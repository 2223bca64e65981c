"""Readings besides the clock: resident memory, the processors' time, the GPU's energy and its processes."""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

_SHARE = 0.05  # of one core may go to others (the system itself, a monitor)
_SHARE_OF_ALL = 0.01  # on machines of many cores, where a hundredth of them is more than that ...
_MOST = 0.5  # ... but never a whole process that computes
_OF_OWN = 0.02  # interrupts and rounding: what our own work adds to the system's counters
_RESOLUTION = 0.05  # s: some ticks of the system's counters
_MORE_THAN_THREADS = 1.25  # times the seconds of the threads: they are fed by others, and the counters are coarse


@dataclass(frozen=True)
class CpuSeconds:
    """Processor time since the start of the machine, on the processors that this process may use.

    Attributes:
        others: of other processes, the system's own work and time that a hypervisor took (steal).
        own: of this process and its descendants.
    """

    others: float
    own: float

    @classmethod
    def now(cls) -> CpuSeconds:
        """Reads the counters of the system and of our processes."""
        every = psutil.cpu_times(percpu=True)
        ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(every))
        allowed = [every[number] for number in ours if number < len(every)] or every
        idle = ("idle", "iowait", "guest", "guest_nice")  # guests are in user and nice once more
        busy = sum(sum(times) - sum(getattr(times, name, 0.0) for name in idle) for times in allowed)
        own = sum(os.times()[:4])
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                own += sum(child.cpu_times()[:4])
        return cls(busy - own, own)

    def __sub__(self, before: CpuSeconds) -> CpuSeconds:
        return CpuSeconds(self.others - before.others, self.own - before.own)


def alone(used: CpuSeconds, wall_seconds: float, processors: int) -> bool | None:
    """True if other processes left the processors to us; None if the system's counters do not count.

    Others may use a twentieth of one core, or a hundredth of all cores up to half a core, besides a few ticks and what
    our own work costs the system. So a single process that computes is seen on a machine of any size.

    Args:
        used: during the stage.
        wall_seconds: length of the stage.
        processors: that this process may use.
    """
    resolution = _RESOLUTION + _OF_OWN * used.own
    if used.others < -(resolution + 0.1 * used.own):
        return None
    return used.others <= resolution + wall_seconds * min(max(_SHARE, _SHARE_OF_ALL * processors), _MOST)


def within_threads(used: CpuSeconds, wall_seconds: float, threads: int) -> bool:
    """False if our processes worked clearly longer, by a quarter and over a second, than that many threads can."""
    return used.own <= 1.0 or used.own <= _MORE_THAN_THREADS * wall_seconds * threads


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class HostMemory:
    """Peak resident memory of this process beyond what it has when this object is made.

    Garbage and freed heap go back to the system first: a stage that reuses them would otherwise seem to need nothing.
    """

    def __init__(self) -> None:
        _set_modules_aside()
        gc.collect()
        with suppress(OSError, AttributeError):  # not glibc: freed memory may stay
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        self._before = _status_bytes("VmRSS") if _reset_peak() else None

    def peak_bytes(self) -> int | None:
        """None where the system does not tell (not Linux, or not permitted)."""
        peak = _status_bytes("VmHWM")
        return None if self._before is None or peak is None else max(0, peak - self._before)


@functools.cache
def _set_modules_aside() -> None:
    """Once per process: what is imported by now is never garbage, and looking through it takes 0.2 s per stage."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else extension modules report leaks when the process ends


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status_bytes(name: str) -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith(f"{name}:")), None)
    return int(line.split()[1]) * 1024 if line else None


class GpuBoard:
    """The NVML view of a CUDA device: cumulative energy and the processes on it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def open(cls, device: torch.device) -> GpuBoard | None:
        """None without NVML: energy and exclusive use stay unknown."""
        if device.type != "cuda":
            return None
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except (pynvml.NVMLError, AttributeError):
            return None

    def joules(self) -> float | None:
        """Energy since the driver was loaded."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except self._nvml.NVMLError:
            return None

    def used_by_one(self) -> bool | None:
        """True if one process computes on it; None if it cannot be told (a container may hide them)."""
        try:
            processes = len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except self._nvml.NVMLError:
            return None
        return processes == 1 if processes else None


def processor_name() -> str:
    """The CPU's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
