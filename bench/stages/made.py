"""The result of a stage, before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from bench.api import ImageSet
from bench.measure.samples import sample_tensors
from bench.stages.jobs import Job
from bench.store.data_files import DataFile
from bench.store.results import Cost, Manifest


@dataclass(frozen=True)
class Made:
    """The result of a stage.

    Attributes:
        cost: of the stage.
        payload: its report: `scores`, `logs`, `curve`, `clean_test_accuracy`, ...
        tensors: to be stored.
        alias_of: name of the input whose images are passed on unchanged (`dataset` or `poison`), or "".
    """

    cost: Cost
    payload: dict[str, Any]
    tensors: Mapping[str, Tensor]
    alias_of: str = ""

    def manifest(self, job: Job, data: DataFile, environment: dict[str, Any]) -> Manifest:
        """The manifest of the artifact, once its data is written."""
        return Manifest(
            job.key,
            job.stage,
            job.preimage,
            data.checksum,
            data.size,
            self.alias_of,
            self.cost,
            self.payload,
            environment,
            data.images_digest,
        )


def made_images(
    result: ImageSet, clean: ImageSet, alias_of: str, cost: Cost, payload: dict[str, Any], kept: Mapping[str, Tensor]
) -> Made:
    """An image set; one that is its input again stores nothing of it but the samples."""
    samples = sample_tensors(clean, result)
    return Made(cost, payload, samples if alias_of else {"images": result.images, **kept, **samples}, alias_of)


def anew(component: Any) -> Any:
    """The component constructed again, inside the meter: what `__init__` computes is charged, and no state is left."""
    return replace(component)
