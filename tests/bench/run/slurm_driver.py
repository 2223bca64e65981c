"""A driver of Slurm jobs with made-up stages: `python slurm_driver.py FOLDER COMPONENT ...` prints a report a line."""

import hashlib
import sys
from pathlib import Path

from bench.run import slurm
from bench.run.executors.submitit import Submitit
from bench.run.runner import Silent
from bench.run.schedule import Schedule
from bench.stages.jobs import Job
from bench.stages.session import Session
from tests.bench.run.quick_stage import QuickStage


def job(component):
    """The same component is the same job."""
    return Job("train", hashlib.sha256(component.encode()).hexdigest(), {}, component, "", 0, {})


def reports(folder, components, watcher=None, **parameters):
    """Yields reports as jobs end."""
    slurm.Stage = QuickStage
    executor = Submitit(cluster="slurm", parallel=2, cpus=1, memory_gb=1, minutes=5, **parameters)
    session = Session("shapes", ("", ""), Path(folder), Path(folder), "cpu")
    return executor.run(Schedule([job(component) for component in components]), session, watcher or Silent())


if __name__ == "__main__":
    for report in reports(sys.argv[1], sys.argv[2:]):
        print(report.to_json(), flush=True)
