"""The inside of a worker process: a session and then jobs come in, one JSON text a line; progress and reports go out.

`bench.run.worker` starts it as `python -m bench.run.serve`. Standard output and error of the process are its log: a
library that prints does not disturb the reports. When the input ends, so does the process, also in the middle of a job.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from bench.errors import of_the_machine, told

if TYPE_CHECKING:
    from bench.stages.session import Session

GRACE = 5.0
"""Seconds in which a process may end by itself before it is ended."""

_INTERVAL = 0.2  # s between two messages of progress


class _Answers:
    """The way out: one JSON object a line. If nobody reads any more, the end of the input stops the process."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._lock = file, threading.Lock()
        self._told = 0.0

    def write(self, kind: str, value: Any) -> None:
        """One message."""
        with self._lock, suppress(OSError):
            self._file.write(json.dumps({kind: value}) + "\n")
            self._file.flush()

    def progress(self, done: int, total: int, note: str) -> None:
        """The running job's progress, a few times a second at most."""
        now = time.monotonic()
        if now - self._told > _INTERVAL or done == total:
            self._told = now
            self.write("progress", [done, total, note])


def main() -> None:
    """Runs jobs until the input ends."""
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), _Answers(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    log = os.fdopen(os.dup(2), "w", encoding="utf-8")  # a stage leads descriptor 2 to a log of its own
    faulthandler.enable(log)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    if "SLURM_JOB_ID" in os.environ:  # Slurm signals all processes of a job; the one that feeds this one decides
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests, lines), daemon=True).start()
    with suppress(KeyboardInterrupt):
        _serve(lines, answers, log)


def _listen(requests: TextIO, lines: SimpleQueue[str]) -> None:
    """Passes the lines on; at their end it interrupts the job, and ends a process that does not heed that."""
    for line in requests:
        lines.put(line)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(GRACE)
    os._exit(1)


def _serve(lines: SimpleQueue[str], answers: _Answers, log: TextIO) -> None:
    start = json.loads(lines.get())
    if start["processors"]:
        os.sched_setaffinity(0, start["processors"])
    # Only now is torch imported: it counts the processors, and looks for the GPUs that the environment lets it see.
    from bench.stages.execute import execute
    from bench.stages.jobs import Job, Report
    from bench.stages.session import Session

    session = Session.from_json(start["session"])
    if reason := _fault(session):
        return answers.write("unusable", f"its GPU does not work ({reason})")

    def begins() -> None:
        if session.stage_timeout:  # the log says where a job hangs, just before its process is killed
            faulthandler.dump_traceback_later(max(0.9 * session.stage_timeout, session.stage_timeout - 1), file=log)
        answers.write("begun", os.getpid())

    answers.write("ready", os.getpid())
    while True:
        job = Job.from_json(lines.get())
        try:
            report = execute(job, session, answers.progress, begins)
        except Exception as error:  # not of the stage: the store is locked, the disk is full
            message = of_the_machine(error) or told(error)
            report = Report.failed(job, type(error).__name__, message, traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()
        broken = report.status == "failed" and _fault(session)
        answers.write("last_report" if broken else "report", report.to_json())
        if broken:
            return None


def _fault(session: Session) -> str:
    """Says why the GPU does no work; of a node without one the job says more."""
    if not session.device.startswith("cuda"):
        return ""
    if session.elsewhere:
        import torch

        if not torch.cuda.is_available():
            return ""
    from bench.run.devices import fault

    return fault(session.device)


if __name__ == "__main__":
    main()
    sys.exit()
