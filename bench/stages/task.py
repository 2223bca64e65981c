"""A job at work: what a stage reads, with which context it calls plug-ins, what it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.api import Context, ImageSet
from bench.datasets import loading
from bench.datasets.splits import Splits, content_head
from bench.errors import ContractError
from bench.measure.cost import Meter
from bench.stages.jobs import Job
from bench.stages.session import Session
from bench.store.artifacts import Store
from bench.store.fingerprint import Fingerprint

OnProgress = Callable[[int, int, str], None]


def unseen(done: int, total: int, note: str) -> None:
    """Progress that nobody is shown."""


@dataclass(frozen=True)
class Task:
    """A job of a session while it runs.

    Attributes:
        job: its stage.
        session: of the run.
        store: the session's, opened.
        scratch: empty folder, deleted afterwards.
        on_progress: is told how far the stage is.
    """

    job: Job
    session: Session
    store: Store
    scratch: Path
    on_progress: OnProgress

    def dataset(self) -> Splits:
        """The session's data set.

        Raises:
            ContractError: if it changed since the plan was made.
        """
        splits = loading.load(self.session.dataset, self.session.data_root)
        if splits.digests != self.session.digests:
            raise ContractError(
                f"data set {self.session.dataset!r} changed since the plan was made; run the same command again"
            )
        return splits

    def images_after(self, stage: str) -> ImageSet:
        """The images an earlier stage passed on."""
        train = self.dataset().train
        if (source := self._source(stage)) == "dataset":
            return train
        return replace(train, images=self.store.read(source, self.job.inputs[source])["images"])

    def known(self, stage: str) -> Fingerprint | None:
        """The fingerprint of the images an earlier stage passed on, of `dataset` or of `test`, without hashing them.

        None if nobody has hashed them in this process: images prepared by another, artifacts of an older release.
        """
        splits = self.dataset()
        source = self._source(stage)
        if source not in ("dataset", "test"):
            return self.store.fingerprint(source, self.job.inputs[source])
        if splits.stored_digests is not None:
            return None
        split = {"dataset": 0, "test": 1}[source]
        return Fingerprint(content_head((splits.train, splits.test)[split]), splits.digests[split])

    def _source(self, stage: str) -> str:
        """The stage that stored the images; `dataset` if all stages before changed nothing."""
        while stage in self.job.inputs and (earlier := self.store.manifest(stage, self.job.inputs[stage]).alias_of):
            stage = earlier
        return stage

    def context(self, scope: str) -> tuple[Context, Meter]:
        """A new context for plug-ins, and the meter that times what runs with it."""
        device, engine = torch.device(self.session.device), self.session.engine
        meter = Meter(device, engine, self.session.shared)
        return Context(self.job.seed, device, self.scratch, scope, meter, self.on_progress, engine=engine), meter

    def repeated(self, folder: str) -> Task:
        """The same task once more, in a new subfolder of its scratch folder, without progress."""
        scratch = self.scratch / folder
        scratch.mkdir()
        return replace(self, scratch=scratch, on_progress=unseen)
