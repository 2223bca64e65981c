"""A worker process with made-up stages, so that it starts at once; its loop and its pipes are the real ones."""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

from bench.run.serve import main
from bench.stages.jobs import Report


def execute(job, session, on_progress, on_begin):
    what, _, where = job.component.partition(":")
    if what == "load":
        time.sleep(float(where))
    on_begin()
    if what == "orphan":  # as the kernel ends a process that takes too much memory
        child = subprocess.Popen(["sleep", "600"])
        Path(where).write_text(str(child.pid))
    if what in ("kill", "orphan"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "crash":
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a stage's own log
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "break":
        os.environ["GPU"] = "broken by the job"
        return Report(job.key, job.stage, "failed", 0.0, {"message": "device-side assert"}, {str(os.getpid()): 1})
    if what == "exit":
        os._exit(3)
    if what == "until":  # somebody makes the file, or `stop` next to it; each start is a line in a file next to it
        with Path(f"{where}.begun").open("a") as begun:
            begun.write(f"{os.getpid()}\n")
        while not (Path(where).exists() or Path(where).with_name("stop").exists()):
            time.sleep(0.05)
    if what == "print":
        os.write(1, b"{not a message}\n")
    if what == "raise":
        raise OSError(28, "No space left on device", "/somewhere")
    if what == "hang":
        on_progress(3, 60, "epoch 3")
        try:
            hang()
        finally:
            Path(where).write_text("cleaned up")
    return Report(job.key, job.stage, "done", 0.0, {}, {str(os.getpid()): 1})


def hang():
    Path(os.environ["HANGS"]).write_text(str(os.getpid()))
    time.sleep(600)


class Session:
    @staticmethod
    def from_json(text):
        import json

        told = json.loads(text)
        return types.SimpleNamespace(**{name: told[name] for name in ("stage_timeout", "device", "elsewhere")})


def fault(device):
    if os.environ.get("GPU") == "hangs":
        time.sleep(600)
    return os.environ.get("GPU", "")


for place, value in {"stages.execute": execute, "stages.session": Session, "run.devices": fault}.items():
    module = types.ModuleType(f"bench.{place}")
    setattr(module, value.__name__, value)
    sys.modules[module.__name__] = module
main()
