"""A job in a process of a cluster: texts in, a text out. Only the standard library is imported before it begins."""

from __future__ import annotations

import json
import os
from typing import Any


def execute_text(job: str, session: str) -> str:
    """Executes a job in this process, or with a stage timeout in a child, which can be stopped.

    Args:
        job: JSON of a `Job`.
        session: JSON of a `Session`.

    Returns:
        JSON of the report.
    """
    from bench.stages.execute import execute
    from bench.stages.jobs import Job
    from bench.stages.session import Session

    here = Session.from_json(session)
    return execute_alone(job, session) if here.stage_timeout else execute(Job.from_json(job), here).to_json()


def execute_alone(job: str, session: str) -> str:
    """As `execute_text`, always in a child of this process."""
    from bench.run.worker import run_alone
    from bench.stages.jobs import Job
    from bench.stages.session import Session

    return run_alone(Job.from_json(job), Session.from_json(session)).to_json()


def execute_in_ray(job: str, session: str, here: dict[str, str], token: str) -> str:
    """As `execute_text` if the node is fit for jobs (`bench.run.nodes.unfit`); else JSON of the reason and the node."""
    import ray

    alone = json.loads(session)["stage_timeout"] is not None
    reason, report = _execute_if_fit(job, session, here, token, alone)
    return report or json.dumps({"unfit": reason, "node": ray.get_runtime_context().get_node_id()})


def _execute_if_fit(job: str, session: str, here: dict[str, str], token: str, alone: bool) -> tuple[str, str]:
    """The reason why this node cannot run the job, or JSON of the report."""
    from bench.errors import UserError
    from bench.run.nodes import unfit
    from bench.stages.session import Session

    if reason := unfit(Session.from_json(session), here, token, alone):
        return reason, ""
    if not alone:
        return "", execute_text(job, session)
    try:
        return "", execute_alone(job, session)
    except UserError as error:  # not of the stage: its process did not start
        return str(error), ""


class Stage:
    """The function of a Slurm job. After pre-emption or its time limit it is queued again, and begins anew.

    The stage runs in a child process: plug-ins never see the exception by which submitit ends the job.
    """

    def __call__(self, job: str, session: str, here: dict[str, str]) -> str:
        """As `execute_alone` if the node is fit for jobs; else JSON of the reason and the node."""
        reason, report = _execute_if_fit(job, session, here, token="", alone=True)
        return report or json.dumps({"unfit": reason, "node": os.environ.get("SLURMD_NODENAME", "")})

    def checkpoint(self, job: str, session: str, here: dict[str, str]) -> Any:
        """The same again, for submitit to run when the job is queued again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, session, here)
