"""Functions of Slurm jobs and Ray tasks with made-up stages, so that they start at once."""

import json
import os
import signal
import time
import types
from pathlib import Path

from bench.run import remote, worker
from bench.stages.jobs import Job, Report


class QuickStage(remote.Stage):
    """The real one but for the stages in its child, and a session that needs no torch."""

    def __call__(self, job, session, here):
        worker.PROGRAM = [str(Path(__file__).with_name("stages_without_torch.py"))]
        if Job.from_json(job).component == "nowhere":
            return json.dumps({"unfit": "has torch 1, this machine has 2", "node": os.environ["SLURMD_NODENAME"]})
        told = types.SimpleNamespace(
            store=Path(json.loads(session)["store"]), stage_timeout=None, to_json=lambda: session
        )
        return worker.run_alone(Job.from_json(job), told).to_json()


def ray_stage(job, session, here, token):
    """Notes each start; waits for a file, kills its process, raises, or finds a node unfit (all, or the first one)."""
    import ray

    told, context = Job.from_json(job), ray.get_runtime_context()
    what, _, where = told.component.partition(":")
    with Path(f"{where}.begun").open("a") as begun:
        gpus = context.get_accelerator_ids()["GPU"]
        begun.write(json.dumps([os.getpid(), context.get_node_id(), gpus, json.loads(session)["device"]]) + "\n")
    if what == "nowhere" or (what == "elsewhere" and len(set(Path(f"{where}.begun").read_text().splitlines())) == 1):
        return json.dumps({"unfit": "has a GPU that does not work (busy)", "node": context.get_node_id()})
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise ValueError("the store is locked")
    while what == "until" and not (Path(where).exists() or Path(where).with_name("stop").exists()):
        time.sleep(0.05)
    return Report(told.key, told.stage, "done", 0.0).to_json()
