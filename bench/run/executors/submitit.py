"""Jobs on a Slurm cluster (submitit), or in processes of this machine. The store must be on a shared disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.errors import UserError
from bench.registry import executors
from bench.run.executors import Reports, Watcher
from bench.run.schedule import Schedule
from bench.run.slurm import Queue
from bench.run.worker import Worker, run_jobs
from bench.stages.session import Session


@executors.register("submitit")
@dataclass(frozen=True)
class Submitit:
    """One Slurm job per job, or processes of this machine.

    Attributes:
        cluster: `local` (processes here, to try a matrix out) or `slurm`.
        parallel: jobs at a time; where they share a machine, the meter marks their costs as not exclusive.
        partition: Slurm partition, or "".
        gpus: GPUs per job (Slurm).
        cpus: CPUs per job (Slurm).
        memory_gb: host memory per job (Slurm).
        minutes: time limit of a job.
    """

    cluster: Literal["local", "slurm"] = "local"
    parallel: int = 1
    partition: str = ""
    gpus: int = 1
    cpus: int = 8
    memory_gb: int = 32
    minutes: int = 720

    threads = None

    def __post_init__(self) -> None:
        for name in ("parallel", "cpus", "memory_gb", "minutes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.partition and self.cluster == "local":
            raise ValueError(f"partition={self.partition} needs cluster=slurm: submitit:cluster=slurm:partition=...")

    @property
    def elsewhere(self) -> bool:
        """True on Slurm."""
        return self.cluster == "slurm"

    @property
    def slots(self) -> int:
        """Jobs at a time."""
        return self.parallel

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Keeps `parallel` jobs running, as far as so many are ready, and yields reports as they end.

        Raises:
            UserError: at the call, if this machine has no Slurm.
        """
        if self.cluster == "slurm":
            return Queue(self._submitter(session), session, self.minutes).run(jobs, self.parallel, watcher)
        limit = 60.0 * self.minutes
        limit = min(session.stage_timeout or limit, limit)
        session = replace(session, stage_timeout=limit, shared=self.parallel > 1)
        return run_jobs([Worker(number, session) for number in range(self.parallel)], jobs, watcher)

    def _submitter(self, session: Session) -> Any:
        """Submitit's executor, with the resources of a job."""
        import submitit

        on_gpu = session.device.startswith("cuda")
        if on_gpu and not self.gpus:
            raise UserError("executor submitit: gpus=0, and the device is a GPU; add --device cpu, or give gpus=1")
        folder = session.store / "logs" / "submitit"
        try:
            submitter = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=1)
        except RuntimeError as error:
            raise UserError(f"executor submitit: no slurm cluster here ({error}); try cluster=local") from error
        submitter.update_parameters(
            timeout_min=self.minutes,
            cpus_per_task=self.cpus,
            mem_gb=self.memory_gb,
            slurm_signal_delay_s=min(90, 15 * self.minutes),  # before the time limit, to be queued again
            slurm_srun_args=["--cpus-per-task", str(self.cpus)],  # sbatch's is not inherited since Slurm 22.05
            slurm_additional_parameters={"requeue": True},
            **({"gpus_per_node": self.gpus} if on_gpu else {}),
            **({"slurm_partition": self.partition} if self.partition else {}),
        )
        return submitter
