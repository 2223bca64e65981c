"""Jobs as Ray tasks; a fraction of a GPU per job lets several small trainings share one card."""

from __future__ import annotations

import json
import math
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import UserError, unknown
from bench.registry import attacks, defenses, executors, victims
from bench.run.executors import NO_LIMIT, Reports, Watcher
from bench.run.nodes import CORE, Facts, check_nodes, facts, marked, visit
from bench.run.remote import execute_in_ray
from bench.run.schedule import Schedule
from bench.stages.jobs import Job, Report
from bench.stages.session import Session

_ANSWER = 10.0  # s for the head of a cluster to take a connection
_PATIENCE = 120.0  # s for a node to answer before the first job
_LOOK = 10.0  # s between two looks at the size of the cluster


@executors.register("ray")
@dataclass(frozen=True)
class Ray:
    """One Ray task per job (extra `ray`). The store must be on a disk all nodes see.

    Attributes:
        address: of the cluster (`"10.0.0.1:6379"`, in quotes), `local` for a new one here, or `auto`.
        cpus: CPUs per job.
        gpus: GPUs per job; below 1 jobs share a card: their accuracy counts, their times are marked as shared.
        on_cpu: names of attacks, defenses or victims whose own stage gets no GPU: `iss-gray+iss-bdr`.
        retries: times that a job is tried again whose process or node was lost.
    """

    address: str = "auto"
    cpus: float = 1.0
    gpus: float = 0.0
    on_cpu: str = ""
    retries: int = 2

    threads = None

    def __post_init__(self) -> None:
        for name, least in (("cpus", 0.01), ("gpus", 0), ("retries", 0)):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus={self.gpus}: a job gets a part of one GPU or several whole ones")
        if self.address not in ("auto", "local") and not self._head():
            raise ValueError(
                f'address={self.address!r}: give auto, local, or "HOST:PORT" as `ray start --head` says it'
            )

    @property
    def elsewhere(self) -> bool:
        """True but for a new cluster on this machine."""
        return self.address != "local"

    @property
    def slots(self) -> int:
        """Jobs that the cluster can run at a time; before `run`, which connects to it, a large number."""
        ray = sys.modules.get("ray")
        return sum(self._places(ray)) if ray is not None and ray.is_initialized() else NO_LIMIT

    def run(self, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        """Keeps the cluster busy as far as jobs are ready, and yields reports as they end.

        Raises:
            UserError: at the call, if there is no cluster, or a node cannot work in the store with this code.
        """
        try:
            import ray
        except ImportError as error:
            raise UserError("executor ray needs the extra: pip install 'purify-bench[ray]'") from error
        if session.device.startswith("cuda") and not self.gpus:
            raise UserError("executor ray: gpus=0, and the device is a GPU; give gpus=1, or --device cpu")
        known = [*attacks, *defenses, *victims]
        if strange := [name for name in self._without_gpu() if name not in known]:
            raise UserError(f"executor ray: on_cpu: {unknown('component', strange[0], known)}")
        head = self._head()
        if ray.is_initialized():
            there = ray.get_runtime_context().gcs_address
            if head and there != f"{head[0]}:{head[1]}":
                raise UserError(
                    f"executor ray: this process is connected to the cluster at {there}, not to {self.address!r}; "
                    "use a new process, or end the connection with ray.shutdown()"
                )
        else:
            try:
                if head:  # `ray.init` waits for minutes
                    socket.create_connection(head, _ANSWER).close()
                _connect(ray, self.address)
            except OSError as error:
                raise UserError(f"executor ray: no cluster at {self.address!r} ({error}); try address=local") from error
            except (RuntimeError, ValueError) as error:  # another version of Python or Ray there
                raise UserError(f"executor ray: {' '.join(str(error).split())}") from error
        if not self._places(ray)[0]:
            raise UserError(
                f"executor ray: no node of the cluster has {self.cpus:g} CPUs and {self.gpus:g} GPUs; "
                "ask for less with cpus= and gpus=, or start larger nodes first"
            )
        check_nodes(session.store, lambda store, token: _ask(ray, store, token))
        return self._reports(ray, jobs, session, watcher)

    def _head(self) -> tuple[str, int] | None:
        """Host and port of an address that has both."""
        host, _, port = self.address.removeprefix("ray://").rpartition(":")
        return (host.strip("[]"), int(port)) if host and port.isdecimal() else None

    def _places(self, ray: Any, left_out: Container[str] = ()) -> tuple[int, int]:
        """Jobs that the living nodes can run at a time: of the usual kind, and next to them of `on_cpu`."""
        usual = without = 0
        for node in ray.nodes():
            if node["Alive"] and node["NodeID"] not in left_out:
                has = node["Resources"]
                by_cpu = _times(has.get("CPU", 0.0), self.cpus)
                here = min(by_cpu, _times(has.get("GPU", 0.0), self.gpus)) if self.gpus else by_cpu
                usual, without = usual + here, without + by_cpu - here
        return usual, max(1, without) if self.gpus and self.on_cpu else 0

    def _without_gpu(self) -> list[str]:
        return [name for name in self.on_cpu.split("+") if name]

    def _reports(self, ray: Any, jobs: Schedule, session: Session, watcher: Watcher) -> Reports:
        # A process with a GPU runs one job: after some errors CUDA does no more work for it.
        usual = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0, max_calls=1 if self.gpus else 0)(
            execute_in_ray
        )
        without = ray.remote(num_cpus=self.cpus, num_gpus=0, max_retries=0)(execute_in_ray)
        names, here = self._without_gpu(), facts(CORE)
        running: dict[Any, Job] = {}
        lost: Counter[str] = Counter()
        left_out: dict[str, str] = {}

        def on_cpu(job: Job) -> bool:
            return bool(self.gpus) and job.preimage.get("component", {}).get("name") in names

        def usually(job: Job) -> bool:
            return not on_cpu(job)

        def submit(job: Job) -> None:
            task, of = (without, replace(session, device="cpu")) if on_cpu(job) else (usual, session)
            others = {"ray.io/node-id": f"!in({','.join(left_out)})"} if left_out else None
            reference = task.options(label_selector=others).remote(job.to_json(), of.to_json(), here, token)
            running[reference] = job

        def received(job: Job, text: str) -> Report | None:
            """The report of a job; None if its node was not fit, and it is submitted again."""
            told = json.loads(text)
            if "unfit" not in told:
                report = Report.from_json(text)
                report.warnings.update(dict.fromkeys(left_out.values(), 1))
                return report
            left_out[told["node"]] = f"node {told['node'][:8]} is left out: it {told['unfit']}"
            if not self._places(ray, left_out)[0]:
                raise UserError(f"executor ray: {'; '.join(left_out.values())}; no node is left")
            submit(job)
            return None

        try:
            with marked(session.store) as token:
                while True:
                    for kind, places in zip((usually, on_cpu), self._places(ray, left_out), strict=True):
                        # Few more than can run, so that no place is empty and the order of the schedule counts.
                        free = places + max(1, places // 8) - sum(map(kind, running.values()))
                        while free > 0 and (job := jobs.take(kind)):
                            watcher.started(job)
                            submit(job)
                            free -= 1
                    if not running:
                        return
                    for reference in ray.wait(list(running), num_returns=1, timeout=_LOOK)[0]:
                        job = running.pop(reference)
                        try:
                            if report := received(job, ray.get(reference)):
                                yield report
                        except ray.exceptions.RayTaskError as error:  # not of the stage: the store is locked, ...
                            cause = error.cause or error
                            yield Report.failed(job, type(cause).__name__, str(cause), str(error))
                        except ray.exceptions.RayError as error:  # the process or its node died
                            lost[job.key] += 1
                            if lost[job.key] > self.retries:
                                trace = f"lost {lost[job.key]} times"
                                yield Report.failed(job, type(error).__name__, str(error), trace)
                            else:
                                submit(job)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _times(there: float, each: float) -> int:
    """Counts how often a part is there; Ray counts in parts of 1/10,000, a float in others (1 // 0.1 is 9)."""
    return math.floor(there / each + 1e-4)


def _connect(ray: Any, address: str) -> None:
    """`ray.init` without its handler of SIGTERM, which would end the command without a word."""
    ours = signal.getsignal(signal.SIGTERM)
    ray.init(address=address, log_to_driver=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)


def _ask(ray: Any, store: str, token: str) -> Mapping[str, Facts]:
    """Visits every living node, also those that are busy.

    Raises:
        UserError: for a node that gives no answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(visit)
    asked = {
        f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})": task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(store, token)
        for node in ray.nodes()
        if node["Alive"]
    }
    found = {}
    for node, reference in asked.items():
        try:
            found[node] = ray.get(reference, timeout=_PATIENCE)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"executor ray: node {node} cannot run purify-bench ({reason}); install the same version there"
            ) from error
    return found
