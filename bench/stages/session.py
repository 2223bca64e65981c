"""The facts that all jobs of a run share: plain data, so that it travels to any process as JSON."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from bench.api.engine import Engine
from bench.errors import UserError
from bench.measure.cost import device_name


@dataclass(frozen=True)
class Session:
    """A data set, a store, a device and the way to compute on it.

    Attributes:
        dataset: canonical selection of the data set.
        digests: of its training, test and, if there are any, clean images, as the plan saw them.
        store: folder of artifacts and cells, absolute.
        data_root: folder of downloaded and prepared data, absolute.
        device: `cpu`, `cuda`, `cuda:1`.
        engine: compiled or not, repeatable to the bit or not, in which precision.
        threads: CPU threads; None leaves PyTorch's number.
        plugins: files to import first.
        repeat_costs: least number of runs of a purification; their median is its cost.
        command: the command line, for the provenance of cells.
        stage_timeout: seconds after which a job is stopped, by executors with processes of their own; None for never.
        shared: several processes of the run use the device, so that no cost is exclusive.
        elsewhere: jobs run on other machines than the plan was made on; `device` is one of theirs.
    """

    dataset: str
    digests: tuple[str, ...]
    store: Path
    data_root: Path
    device: str
    engine: Engine = field(default_factory=Engine)
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    repeat_costs: int = 1
    command: str = ""
    stage_timeout: float | None = None
    shared: bool = False
    elsewhere: bool = False

    @property
    def machine(self) -> str:
        """The name of the device, shown next to every cost; of other machines, the kind alone is known."""
        if self.elsewhere:
            kind = "GPUs" if self.device.startswith("cuda") else "processors"
            return f"{kind} of other machines{self.engine.label}"
        return device_name(torch.device(self.device), self.engine)

    def check_device(self) -> None:
        """In a process that runs jobs: looks for the device, if the plan was made on a machine that could not.

        Raises:
            UserError: if this machine does not have it, or it cannot do what the engine asks of it.
        """
        if not self.elsewhere:
            return
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(
                f"--device {self.device}: the node {platform.node()} has no CUDA device; request one "
                "(submitit:cluster=slurm:gpus=1, a partition with GPUs, ray:gpus=1), or give --device cpu"
            )
        self.engine.check(self.device)

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Session:
        """The inverse of `to_json`."""
        raw = json.loads(text)
        raw |= {name: tuple(raw[name]) for name in ("digests", "plugins")}
        raw |= {name: Path(raw[name]) for name in ("store", "data_root")}
        return cls(**raw | {"engine": Engine(**raw["engine"])})
