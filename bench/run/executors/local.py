"""One process per GPU of this machine, started once and fed with jobs; or several processes on its processors."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.errors import UserError
from bench.measure.probes import processors
from bench.registry import executors
from bench.run.executors import Reports, Watcher
from bench.run.schedule import Schedule
from bench.run.worker import Worker, run_jobs
from bench.stages.session import Session


@executors.register("local")
@dataclass(frozen=True)
class Local:
    """One process per GPU of this machine; each has its part of the processors, and `--threads` as many.

    Attributes:
        gpus: `all`, a count (`2`: the first two), a list (`0,2`; `1,` is GPU 1 alone), or `none`.
        per_gpu: processes that share each GPU; above 1 all costs are marked as not exclusive.
        cpus: processes on the processors, with gpus=none; above 1 all costs are marked as not exclusive.
    """

    gpus: str = "all"
    per_gpu: int = 1
    cpus: int = 0

    elsewhere = False

    def __post_init__(self) -> None:
        for name, least in (("per_gpu", 1), ("cpus", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        without = self._asked() == []
        if without and not self.cpus:
            raise ValueError(f"gpus={self.gpus} needs a number of processes on the processors: gpus=none:cpus=2")
        if self.cpus and not without:
            raise ValueError(f"cpus={self.cpus} needs gpus=none: all jobs of a run use one kind of device")

    @property
    def slots(self) -> int:
        """Processes; at least 1, also where the GPUs that are asked for do not exist."""
        asked = self._asked()
        count = torch.cuda.device_count() if asked is None else len(asked)
        return self.cpus or max(1, count * self.per_gpu)

    @property
    def threads(self) -> int:
        """CPU threads of each process: its part of the processors."""
        return max(1, processors() // self.slots)

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Yields reports as jobs end. A process that crashes is started again; its job has failed.

        Raises:
            UserError: at the call, for GPUs that do not exist, or a device that contradicts `gpus`.
        """
        gpus = self._gpus(session.device)
        if not gpus:
            session = replace(session, shared=self.cpus > 1)
            workers = [Worker(number, session, {"CUDA_VISIBLE_DEVICES": ""}) for number in range(self.cpus)]
            return run_jobs(workers, jobs, watcher)
        # The first job of each GPU comes before the second of any.
        places = [gpu for _ in range(self.per_gpu) for gpu in gpus]
        shares = _shares(len(places))
        session = replace(session, device="cuda", shared=self.per_gpu > 1 or (len(places) > 1 and not shares[0]))
        workers = [
            Worker(number, session, {"CUDA_VISIBLE_DEVICES": _visible(gpu)}, share)
            for number, (gpu, share) in enumerate(zip(places, shares, strict=True))
        ]
        return run_jobs(workers, jobs, watcher)

    def _asked(self) -> list[int] | None:
        """Numbers of the GPUs; None for all, empty for none.

        Raises:
            ValueError: for anything else than a count, a list, `all` or `none`.
        """
        text = self.gpus.strip().lower()
        if text in ("all", "none"):
            return None if text == "all" else []
        words = text.replace("+", ",").split(",")
        try:
            numbers = [int(word) for word in words if word.strip()]
        except ValueError:
            numbers = [-1]
        if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
            raise ValueError(
                f"gpus={self.gpus!r}: give all, none, a count (2: the first two) or a list of different numbers "
                "(0,2; 1, is GPU 1 alone)"
            )
        return numbers if len(words) > 1 else [*range(numbers[0])]

    def _gpus(self, device: str) -> list[int]:
        """The GPUs that are asked for, if they exist."""
        asked, visible = self._asked(), torch.cuda.device_count()
        label = f"executor local: gpus={self.gpus}"
        if asked == []:
            if device != "cpu":
                raise UserError(f"{label}, and the device is {device}; add --device cpu")
            return []
        if not visible:
            raise UserError(
                f"{label}, and torch sees no GPU (`bench doctor` says more); local:gpus=none:cpus=2 is two processes "
                "without one"
            )
        if device not in ("cuda", "cuda:0"):
            raise UserError(f"{label} contradicts --device {device}; leave --device out, gpus= says which")
        chosen = [*range(visible)] if asked is None else asked
        if unknown := [number for number in chosen if number >= visible]:
            there = ", ".join(map(str, range(visible)))
            raise UserError(
                f"{label}: there is no GPU {', '.join(map(str, unknown))}; torch sees {visible} ({there}); "
                "gpus=all takes all of them"
            )
        return chosen


def _shares(count: int) -> list[list[int]]:
    """Processors of each of so many processes, so that no load of one is seen on those of another.

    Threads of one core are next to each other. Empty lists, which is no limit, if there are fewer processors than
    processes, or the system has no such limits.
    """
    ours = sorted(os.sched_getaffinity(0), key=_core) if hasattr(os, "sched_getaffinity") else []
    size = len(ours) // count
    return [ours[number * size : (number + 1) * size] for number in range(count)]


def _core(processor: int) -> tuple[int, int, int]:
    """Socket and core of a processor, and its number; where the system does not say, the number alone."""
    folder = Path(f"/sys/devices/system/cpu/cpu{processor}/topology")
    try:
        socket, core = (int((folder / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        socket = core = 0
    return socket, core, processor


def _visible(gpu: int) -> str:
    """CUDA's own name of a GPU that this process knows by its number."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return names[gpu] if gpu < len(names) and names[gpu] else str(gpu)
