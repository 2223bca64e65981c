"""Jobs as Ray tasks; a fraction of a GPU per job lets several small trainings share one card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.errors import UserError
from bench.registry import executors
from bench.run.executors import Reports, Watcher
from bench.run.remote import execute_text
from bench.run.schedule import Schedule
from bench.stages.jobs import Job, Report
from bench.stages.session import Session


@executors.register("ray")
@dataclass(frozen=True)
class Ray:
    """One Ray task per job (extra `ray`). The store must be on a disk all nodes see.

    Attributes:
        address: of the cluster, `local` for a new one here, or `auto`.
        cpus: CPUs per job.
        gpus: GPUs per job; below 1 jobs share a card: their accuracy counts, their times are marked as shared.
    """

    address: str = "auto"
    cpus: float = 1.0
    gpus: float = 0.0

    slots = 1_000_000  # the cluster decides
    threads = None

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Submits every job when it is ready and yields reports as they end."""
        try:
            import ray
        except ImportError as error:
            raise UserError("executor ray needs the extra: pip install 'purify-bench[ray]'") from error
        if not ray.is_initialized():
            try:
                ray.init(address=self.address, log_to_driver=False)
            except ConnectionError as error:
                raise UserError(f"executor ray: no cluster at {self.address!r} ({error}); try address=local") from error
        return self._reports(ray, jobs, session, watcher)

    def _reports(self, ray: Any, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(execute_text)
        running: dict[Any, Job] = {}
        while True:
            while job := jobs.take():
                watcher.started(job)
                running[task.remote(job.to_json(), session.to_json())] = job
            if not running:
                return
            (reference, *_), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(reference)
            try:
                yield Report.from_json(ray.get(reference))
            except ray.exceptions.RayError as error:  # the worker died: out of memory, node lost
                details = {"stage": job.stage, "kind": type(error).__name__, "message": str(error), "traceback": ""}
                yield Report(job.key, job.stage, "failed", 0.0, details)
