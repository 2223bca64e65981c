"""Jobs for an executor and its reports: plain JSON, so that any process on any machine can do them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.api.engine import Engine

STAGES = ("poison", "purify", "train")


@dataclass(frozen=True)
class Job:
    """One stage of one or more cells.

    Attributes:
        stage: `poison`, `purify` or `train`.
        key: of the artifact it makes.
        preimage: what the key is the digest of.
        dataset: selection of the data set.
        digests: of its training and test images, as the plan saw them.
        component: full selection of what runs: the attack, the defense or the victim.
        defense: full selection of the defense for a `train` job whose defense acts during training or at test time.
        seed: of the matrix.
        inputs: key of the artifact of each earlier stage.
        store: folder.
        data_root: folder.
        device: `cpu`, `cuda`, `cuda:1`.
        plugins: files to import first.
        repeat_costs: how often a purification is run at least, so that its cost is a median.
        threads: CPU threads, or 0 for the executor's own choice.
        engine: compiled or not, repeatable to the bit or not, in which precision.
    """

    stage: str
    key: str
    preimage: dict[str, Any]
    dataset: str
    digests: tuple[str, str]
    component: str
    defense: str
    seed: int
    inputs: dict[str, str]
    store: str
    data_root: str
    device: str
    plugins: tuple[str, ...] = ()
    threads: int = 0
    engine: Engine = field(default_factory=Engine)
    repeat_costs: int = 1

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        raw = json.loads(text)
        raw |= {name: tuple(raw[name]) for name in ("digests", "plugins")}
        return cls(**raw | {"engine": Engine(**raw["engine"])})


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

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))
