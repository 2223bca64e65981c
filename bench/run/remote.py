"""A job in a process of a cluster: texts in, a text out. Only the standard library is imported before it begins."""

from __future__ import annotations

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


class Stage:
    """The function of a Slurm job. After pre-emption or its time limit it is queued again, and begins anew.

    The stage runs in a child process: plug-ins never see the exception by which submitit ends the job.
    """

    def __call__(self, job: str, session: str) -> str:
        """As `execute_alone`."""
        return execute_alone(job, session)

    def checkpoint(self, job: str, session: str) -> Any:
        """The same again, for submitit to run when the job is queued again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, session)
