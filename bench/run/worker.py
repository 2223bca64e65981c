"""Worker processes of this machine: started once, fed with jobs through pipes, started again after a crash."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import UserError
from bench.run.schedule import Schedule
from bench.run.serve import GRACE
from bench.stages.jobs import Job, Report

if TYPE_CHECKING:  # torch is imported where it is needed: a Slurm job watches over its worker without it
    from bench.run.executors import Reports, Watcher
    from bench.stages.session import Session

PROGRAM = ["-P", "-m", "bench.run.serve"]
_START = 900.0  # s for a process to start, where a GPU's driver may hang
_LONGEST_WAIT = 3600.0  # s between two looks at the deadlines
_LAST_WORDS = 1.0  # s to read what a process wrote before it ended


class _Event(NamedTuple):
    """A message of a process; its end if the message is None."""

    worker: Worker
    process: subprocess.Popen[str]
    message: dict[str, Any] | None


class Worker:
    """A process that runs one job at a time.

    Args:
        number: from 0; names the log.
        session: of its jobs.
        environment: variables besides those of this process, for example CUDA_VISIBLE_DEVICES.
        processors: numbers of those that it may use; empty for all.

    Attributes:
        label: for messages: its number, and what the environment gives it.
        job: that runs; None if the worker is free.
        deadline: time (`time.monotonic`) at which the process is stopped. The stage timeout counts from the begin of
            the stage; the start of the process has a limit of its own, and so has what the job loads.
    """

    def __init__(
        self, number: int, session: Session, environment: dict[str, str] | None = None, processors: Sequence[int] = ()
    ) -> None:
        self._session, self._processors = session, processors
        own = environment or {}
        self.label = " ".join([f"process {number}", *(f"{name}={value}" for name, value in own.items())])
        self._environment = {**os.environ, **own}
        self._environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._log = session.store / "logs" / "workers" / f"{os.getpid()}-{number}.txt"
        self._process: subprocess.Popen[str] | None = None
        self._allowed = session.stage_timeout or math.inf
        self.job: Job | None = None
        self.deadline = math.inf

    def give(self, job: Job, events: SimpleQueue[_Event]) -> None:
        """Sends a job to the process, which is started if there is none; events tell what becomes of it."""
        if self._process is None or self._process.poll() is not None:
            self.kill()
            self._process = self._started(events)
            self._until(_START, "")
        else:
            self._loads()
        self.job, self._progress = job, "no progress was reported"
        self._send(job.to_json())

    def unusable(self, event: _Event) -> str:
        """Says why the worker can run no job, if the event says so."""
        return (event.message or {}).get("unusable", "") if event.process is self._process and self.job else ""

    def receive(self, event: _Event, watcher: Watcher) -> Report | None:
        """Takes an event of the worker; returns the report if its job has ended."""
        if event.process is not self._process:
            return None  # of a process that was replaced
        message = event.message
        if message is None or "late" in message:
            self.kill()
            return self._ended(self._lost(message, event.process.poll())) if self.job else None
        if self.job is None:
            return None
        if "ready" in message:
            self._loads()
        if "begun" in message:
            self._until(self._allowed, f"longer than the stage timeout of {self._allowed:g} s")
        if "progress" in message:
            done, total, note = message["progress"]
            self._progress = f"last progress: {done:g} of {total:g}{f', {note}' if note else ''}"
            watcher.advanced(self.job, done, total, note)
        if "last_report" in message:  # the process cannot go on
            self.kill()
        for kind in ("report", "last_report"):
            if kind in message:
                return self._ended(Report.from_json(message[kind]))
        return None

    def give_up(self) -> Job:
        """Ends the process, and returns its job, which has not begun."""
        assert self.job is not None
        job, self.job, self.deadline = self.job, None, math.inf
        self.kill()
        return job

    def late(self) -> _Event | None:
        """An event if the start of the process or the job has taken too long."""
        if self._process is None or time.monotonic() < self.deadline:
            return None
        never = f"its process did not start within {_START:g} s; its log: {self._log}"
        return _Event(self, self._process, {"late": True} if self._limit else {"unusable": never})

    def close(self) -> None:
        """Asks the process to end: its input ends."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def wait(self, seconds: float) -> None:
        """Until the process has ended, or the time is over; then it is killed."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, seconds))
        self.kill()
        with suppress(OSError):
            if self._log.stat().st_size == 0:
                self._log.unlink()

    def kill(self) -> None:
        """Ends the process and what it started, which may live on after a process that ended by itself."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError, PermissionError):  # nothing is left of its group
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # it hangs in a driver: nobody can end it
                process.wait(GRACE)

    def _started(self, events: SimpleQueue[_Event]) -> subprocess.Popen[str]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends its workers
            )
        threading.Thread(target=_watch, args=(self, process, events), daemon=True).start()
        self._process = process
        self._send(json.dumps({"session": self._session.to_json(), "processors": list(self._processors)}))
        return process

    def _send(self, text: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: an event will say so
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def _loads(self) -> None:
        limit = max(self._allowed, _START)
        self._until(limit, f"its libraries and data were not loaded within {limit:g} s")

    def _until(self, seconds: float, limit: str) -> None:
        """From now on, so many seconds are allowed, by a limit in words."""
        self._began, self._limit = time.monotonic(), limit
        self.deadline = self._began + seconds

    def _ended(self, report: Report) -> Report:
        self.job, self.deadline = None, math.inf
        return report

    def _lost(self, message: dict[str, Any] | None, status: int | None) -> Report:
        """The report of a job whose process ended, or was stopped because it was late."""
        assert self.job is not None
        kind, what = "ProcessLost", "the process ended without a result"
        if message or status is None:
            kind, what = "StageTimeout", "the job was stopped"
            how = f"{self._limit}; {self._progress}"
        elif status == -signal.SIGKILL:
            how = f"signal {-status}: killed? out of memory?"
        else:
            how = f"signal {-status}: {signal.strsignal(-status)}" if status < 0 else f"exit status {status}"
        with suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(f"{self.job.stage} {self.job.key[:12]} ({self.job.component}): {what} ({how})\n")
        told = f"{what} ({how}); its log: {self._log}"
        return Report.failed(self.job, kind, told, seconds=time.monotonic() - self._began)


def _watch(worker: Worker, process: subprocess.Popen[str], events: SimpleQueue[_Event]) -> None:
    """Passes on what a process writes, and then its end. A child that outlives it may hold its output open."""

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):  # cut short by the end
                events.put(_Event(worker, process, json.loads(line)))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    process.wait()
    listener.join(_LAST_WORDS)
    events.put(_Event(worker, process, None))


def run_jobs(workers: Sequence[Worker], jobs: Schedule, watcher: Watcher) -> Reports:
    """Keeps the workers busy as far as jobs are ready; their processes end with the generator.

    A worker whose process does not start, or whose GPU does not work then, is left out: its job goes to another one,
    and a warning of the next report says so.

    Raises:
        UserError: if no worker is left.
    """
    events: SimpleQueue[_Event] = SimpleQueue()
    usable, left_out = [*workers], dict[str, int]()
    try:
        while True:
            for worker in usable:
                if worker.job is None and (job := jobs.take()):
                    watcher.started(job)
                    worker.give(job, events)
            if all(worker.job is None for worker in usable):
                return
            event = _next_event(events, usable)
            if reason := event.worker.unusable(event):
                jobs.give_back(event.worker.give_up())
                usable.remove(event.worker)
                left_out[f"{event.worker.label} is left out: {reason}"] = 1
                if not usable:
                    raise UserError(f"{'; '.join(left_out)}; `nvidia-smi` says more; the same command continues")
            elif report := event.worker.receive(event, watcher):
                report.warnings.update(left_out)
                yield report
    finally:
        _end(workers)


def run_alone(job: Job, session: Session) -> Report:
    """Runs one job in a process of its own, which can be stopped: for executors whose jobs are functions."""
    (report,) = run_jobs([Worker(0, session)], Schedule([job]), _Unwatched())
    return report


class _Unwatched:
    def started(self, job: Job) -> None: ...
    def advanced(self, job: Job, done: int, total: int, note: str) -> None: ...
    def told(self, text: str) -> None: ...


def _next_event(events: SimpleQueue[_Event], workers: Sequence[Worker]) -> _Event:
    """Waits for an event; that a job takes too long is one."""
    while True:
        left = min(worker.deadline for worker in workers) - time.monotonic()
        try:
            return events.get(timeout=min(max(0.0, left), _LONGEST_WAIT))
        except Empty:
            for worker in workers:
                if event := worker.late():
                    return event


def _end(workers: Sequence[Worker]) -> None:
    """Lets running jobs clean up after themselves, and kills those that do not."""
    deadline = time.monotonic() + GRACE
    try:
        for worker in workers:
            worker.close()
        for worker in workers:
            worker.wait(deadline - time.monotonic())
    finally:
        for worker in workers:
            worker.kill()
