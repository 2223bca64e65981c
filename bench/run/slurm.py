"""Jobs in Slurm's queue. Each is named after the artifact it makes, so that the queue itself is the record of them.

A driver that starts again finds the jobs that an earlier one submitted, and waits for them instead of submitting them
twice. There are no job arrays: jobs become ready one after the other, and all jobs of an array have one name and one
place in the queue.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.errors import UserError
from bench.formats import counted
from bench.run.executors import Reports, Watcher
from bench.run.nodes import CORE, facts
from bench.run.remote import Stage
from bench.run.schedule import Schedule
from bench.stages.jobs import Job, Report
from bench.stages.session import Session

_ENDED = {"CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT"}
_TAKEN = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}  # ended by the cluster, which did not queue the job again
_TAKEN_TIMES = 3  # that a job may be taken away, or find a node that is not fit for it, and be submitted again
_FIRST_LOOK, _LAST_LOOK = 1.0, 30.0  # s between two looks at the queue: it is asked more and more rarely
_AGAIN = 60.0  # s before a job that sbatch refused is submitted again
_POLL = 0.2  # s between two looks for results


@dataclass
class _Running:
    """A job that is in the queue.

    Attributes:
        job: the stage.
        handle: submitit's.
        gone: looks at the queue, one after the other, in which it had ended and there was no result.
        taken: times that it was submitted again.
        earlier: an earlier command submitted it.
    """

    job: Job
    handle: Any
    earlier: bool = False
    gone: int = 0
    taken: int = 0


class Queue:
    """The jobs of one run in Slurm's queue.

    Args:
        submitter: submitit's executor, with the resources of a job.
        session: of all jobs.
        minutes: time limit of a job, for the message.
    """

    def __init__(self, submitter: Any, session: Session, minutes: int) -> None:
        self._submitter, self._session, self._minutes = submitter, session, minutes
        self._store = hashlib.sha256(str(session.store.resolve()).encode()).hexdigest()[:8]
        self._cluster = {name: os.environ[name] for name in ("SLURM_CONF", "SLURM_CLUSTERS") if name in os.environ}
        self._running: list[_Running] = []
        self._pause, self._next_look = _FIRST_LOOK, time.monotonic() + _FIRST_LOOK
        self._here = facts(CORE)
        self._left_out: dict[str, str] = {}  # nodes, and why
        self._again = math.inf  # time at which a job that was refused is submitted again
        found = squeue()
        if found is None:
            raise UserError("executor submitit: squeue gives no answer; is the Slurm controller up? (scontrol ping)")
        self._earlier = {name: number for number, state, name in found if state not in _ENDED | _TAKEN}

    def run(self, jobs: Schedule, parallel: int, watcher: Watcher) -> Reports:
        """Keeps so many jobs in the queue; after Ctrl-C they are cancelled, after any other end they go on."""
        self._watcher = watcher
        if there := sum(self._name(job) in self._earlier for job in jobs.jobs.values()):
            watcher.told(
                f"{counted(there, 'job')} of an earlier command in the queue: this one waits for them, and they keep "
                "their resources and time limits"
            )
        try:
            while True:
                if not self._running or time.monotonic() >= self._again:
                    self._again = math.inf
                while self._again == math.inf and len(self._running) < parallel and (job := jobs.take()):
                    adopted = self._adopted(job)
                    handle = adopted or self._submitted(job, others=len(self._running))
                    if handle is None:
                        jobs.give_back(job)
                    else:
                        watcher.started(job)
                        self._running.append(_Running(job, handle, earlier=adopted is not None))
                if not self._running:
                    return
                yield from self._ended()
        except (GeneratorExit, KeyboardInterrupt):
            if self._running:
                subprocess.run(["scancel", *(each.handle.job_id for each in self._running)], check=False)
            raise

    def _name(self, job: Job) -> str:
        return f"bench-{job.stage}-{job.key[:16]}-{self._store}"

    def _adopted(self, job: Job) -> Any:
        """The job of an earlier driver that makes the same artifact; None if there is none."""
        import submitit

        number = self._earlier.pop(self._name(job), None)
        if number is None:
            return None
        handle: Any = submitit.SlurmJob(self._submitter.folder, number)
        if handle.paths.submitted_pickle.exists():
            return handle
        subprocess.run(["scancel", number], check=False)  # that driver ended before it had written what to do
        return None

    def _submitted(self, job: Job, others: int) -> Any:
        """A new job in the queue; None if it is refused for now, while others are there.

        Raises:
            UserError: if it is refused and there are no others.
        """
        from submitit.core.utils import FailedJobError
        from submitit.helpers import clean_env

        self._submitter.update_parameters(name=self._name(job))
        if self._left_out:
            self._submitter.update_parameters(slurm_exclude=",".join(self._left_out))
        try:
            with clean_env():  # the driver may be a Slurm job itself
                os.environ.update(self._cluster)
                handle = self._submitter.submit(Stage(), job.to_json(), self._session.to_json(), self._here)
        except FailedJobError as error:
            refused = f"sbatch refused a job ({' '.join(str(error).split())})"
            if not others:
                said = "; ".join([refused, *self._left_out.values()])
                raise UserError(f"executor submitit: {said}; change the parameters of --executor") from error
            self._again = time.monotonic() + _AGAIN
            self._watcher.told(f"{refused}; it is tried again every {_AGAIN:g} s while other jobs are in the queue")
            return None
        self._pause, self._next_look = _FIRST_LOOK, time.monotonic() + _FIRST_LOOK
        return handle

    def _ended(self) -> Iterator[Report]:
        """Waits until at least one job has ended and yields those that have, or until one is submitted again."""
        while True:
            states = self._states()
            ended = [each for each in self._running if self._has_ended(each, states)]
            for each in ended:
                self._running.remove(each)
                if each.handle.paths.result_pickle.exists():
                    yield self._report(each)
                else:
                    yield self._lost(each, _state(each, states))
            if ended or time.monotonic() >= self._again:
                return
            time.sleep(_POLL)

    def _states(self) -> dict[str, str] | None:
        """State by number of the job; None if it is too early to ask, or the controller does not answer."""
        if time.monotonic() < self._next_look:
            return None
        found = squeue()
        doubtful = any(each.gone for each in self._running)
        self._pause = _FIRST_LOOK if doubtful else min(1.5 * self._pause, _LAST_LOOK)
        self._next_look = time.monotonic() + self._pause
        return None if found is None else {number: state for number, state, _ in found}

    def _has_ended(self, each: _Running, states: dict[str, str] | None) -> bool:
        """A job has ended if its result is there, or if the queue said twice that it has ended without one."""
        folder = each.handle.paths.folder
        os.utime(folder)  # a network disk then looks for new files
        if each.handle.paths.result_pickle.exists():
            return not self._elsewhere(each)
        if states is None:
            return False
        state = _state(each, states)
        if state in _TAKEN and each.taken < _TAKEN_TIMES:
            self._submit_again(each)
            return False
        each.gone = each.gone + 1 if state in _ENDED | _TAKEN | {_UNKNOWN} else 0
        return each.gone > 1

    def _elsewhere(self, each: _Running) -> bool:
        """Submits a job again, to other nodes, if its node was not fit for it.

        Raises:
            UserError: if that happened too often.
        """
        told = {} if each.handle.exception() else json.loads(each.handle.result())
        if "unfit" not in told:
            return False
        line = f"node {told['node']} is left out: it {told['unfit']}"
        if each.earlier:  # its driver may have had other code than this one
            line = f"Slurm job {each.handle.job_id} of an earlier command is submitted again: its node {told['unfit']}"
        elif each.taken < _TAKEN_TIMES:
            self._left_out[told["node"]] = line
        else:
            raise UserError(f"executor submitit: {line}; this job found no other {_TAKEN_TIMES} times")
        self._watcher.told(line)
        self._submit_again(each)
        return True

    def _submit_again(self, each: _Running) -> None:
        """Unless sbatch has just refused one."""
        if self._again == math.inf and (handle := self._submitted(each.job, others=len(self._running) - 1)):
            each.handle, each.taken, each.earlier = handle, each.taken + 1, False

    def _report(self, each: _Running) -> Report:
        trouble = each.handle.exception()
        if trouble is None:
            return Report.from_json(each.handle.result())
        if "timed-out" in str(trouble):
            how = f"took longer than its limit of {self._minutes} minutes, twice; give it more with minutes="
            return self._failed(each, "TimeLimit", how, str(trouble))
        return self._failed(each, "ProcessLost", "ended with an error outside of the stage", str(trouble))

    def _lost(self, each: _Running, state: str) -> Report:
        """The report of a job without a result.

        Raises:
            UserError: if its node has not even begun a log in the store.
        """
        paths = each.handle.paths
        if state == "FAILED" and not (paths.stderr.is_file() or paths.stdout.is_file()):
            raise UserError(
                f"executor submitit: Slurm job {each.handle.job_id} failed without a log in {paths.folder}: does its "
                "node see the store? Give --store on a disk that all nodes see; the same command continues"
            )
        return self._failed(each, "ProcessLost", f"ended without a result (state {state})")

    def _failed(self, each: _Running, kind: str, how: str, trace: str = "") -> Report:
        paths = each.handle.paths
        log = next((path for path in (paths.stderr, paths.stdout) if path.is_file()), paths.folder)
        message = f"Slurm job {each.handle.job_id} {how}; its log: {log}"
        return Report.failed(each.job, kind, message, trace)


_UNKNOWN = "not in the queue"


def _state(each: _Running, states: dict[str, str] | None) -> str:
    return (states or {}).get(each.handle.job_id, _UNKNOWN)


def squeue() -> list[tuple[str, str, str]] | None:
    """Number, state and name of the user's jobs, those included that ended a moment ago; None without an answer.

    `sacct`, which submitit asks, needs a data base that not every cluster has.
    """
    command = ["squeue", "--noheader", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%j"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.split("|", 2) for line in said.splitlines() if line.count("|") >= 2)
    return [(number.strip(), state.strip(), name.strip()) for number, state, name in rows]
