"""One process per job: on this machine, or on a Slurm cluster (submitit). The store must be on a shared disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import UserError
from bench.registry import executors
from bench.run.executors import Reports, Watcher
from bench.run.schedule import Schedule
from bench.stages.jobs import Job, Report
from bench.stages.session import Session


def execute_text(job: str, session: str) -> str:
    """Executes a job in another process: JSON of job and session in, JSON of the report out.

    With a stage timeout it runs in a child of that process, which can be killed.
    """
    from bench.run.worker import run_alone
    from bench.stages.execute import execute

    meant = Session.from_json(session)
    return (run_alone if meant.stage_timeout else execute)(Job.from_json(job), meant).to_json()


@executors.register("submitit")
@dataclass(frozen=True)
class Submitit:
    """One process per job, on this machine or on Slurm.

    Attributes:
        cluster: `local` (processes here) or `slurm`.
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

    def __post_init__(self) -> None:
        for name in ("parallel", "cpus", "memory_gb", "minutes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    threads = None

    @property
    def slots(self) -> int:
        """Jobs at a time."""
        return self.parallel

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Keeps `parallel` jobs running, as far as so many are ready, and yields reports as they end."""
        return self._reports(self._submitter(session.store / "logs" / "submitit"), jobs, session, watcher)

    def _reports(self, submitter: Any, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        running: dict[Any, Job] = {}
        try:
            while True:
                while len(running) < self.parallel and (job := jobs.take()):
                    watcher.started(job)
                    running[submitter.submit(execute_text, job.to_json(), session.to_json())] = job
                if not running:
                    return
                yield from self._finished(running)
        finally:
            for handle in running:
                handle.cancel()

    def _finished(self, running: dict[Any, Job]) -> Iterator[Report]:
        """Waits until at least one job has ended and yields those that have."""
        import time

        while not (ended := [handle for handle in running if handle.done()]):
            time.sleep(0.2)
        for handle in ended:
            job = running.pop(handle)
            trouble = handle.exception()
            if trouble is None:
                yield Report.from_json(handle.result())
            else:
                yield Report(job.key, job.stage, "failed", 0.0, _lost(job, handle, trouble))

    def _submitter(self, folder: Path) -> Any:
        import submitit

        try:
            submitter = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        except RuntimeError as error:
            raise UserError(
                f"executor submitit: no {self.cluster} cluster here ({error}); try cluster=local"
            ) from error
        common = {"timeout_min": self.minutes, "name": "purify-bench"}
        if self.cluster == "slurm":
            common |= {"cpus_per_task": self.cpus, "mem_gb": self.memory_gb, "gpus_per_node": self.gpus}
            if self.partition:
                common["slurm_partition"] = self.partition
        submitter.update_parameters(**common)
        return submitter


def _lost(job: Job, handle: Any, trouble: Exception) -> dict[str, str]:
    """The error of a job whose process returned no report; what submitit says of it is the traceback."""
    process = getattr(handle, "_process", None)  # of the local cluster: the one that watches the worker
    status = getattr(process, "returncode", None)
    known = f"; exit status {status}" if status else ""
    if process is None:
        known = f"; state {handle.state}"
    log = next((path for path in (handle.paths.stderr, handle.paths.stdout) if path.is_file()), handle.paths.folder)
    return {
        "stage": job.stage,
        "kind": "ProcessLost",
        "message": f"the process ended without a result (killed? out of memory?{known}); its log: {log}",
        "traceback": str(trouble),
    }
