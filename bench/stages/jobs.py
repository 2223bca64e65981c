"""Jobs for an executor and its reports: plain JSON, so that any process on any machine can do them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ROLES = {"poison": "attack", "purify": "defense", "train": "victim"}
"""The kind of component that runs in each stage."""
STAGES = (*ROLES,)


@dataclass(frozen=True)
class Job:
    """One stage of one or more cells; what all jobs of a run share is in the `Session`.

    Attributes:
        stage: `poison`, `purify` or `train`.
        key: of the artifact it makes.
        preimage: the content of which the key is the digest.
        component: full selection of the attack, the defense or the victim that runs.
        defense: full selection of the defense for a `train` job whose defense acts during training or at test time.
        seed: of the matrix.
        inputs: key of the artifact of each earlier stage.
    """

    stage: str
    key: str
    preimage: dict[str, Any]
    component: str
    defense: str
    seed: int
    inputs: dict[str, str]

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Report:
    """End of a job.

    Attributes:
        key: of the job.
        stage: of the job.
        status: `done` (the artifact is in the store) or `failed`.
        seconds: wall time of the whole job, loading and storing included; for people, not for the board.
        error: `stage`, `kind`, `message`, `traceback` of a failure.
        warnings: what was warned of during the stage, with how often.
    """

    key: str
    stage: str
    status: Literal["done", "failed"]
    seconds: float
    error: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)

    @classmethod
    def failed(cls, job: Job, kind: str, message: str, traceback: str = "", seconds: float = 0.0) -> Report:
        """Of a job that failed outside of its stage."""
        error = {"stage": job.stage, "kind": kind, "message": message, "traceback": traceback}
        return cls(job.key, job.stage, "failed", seconds, error)

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))
