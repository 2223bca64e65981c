"""Seconds of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from statistics import median
from typing import Any

from bench.select.spec import digest
from bench.stages.jobs import Job
from bench.stages.session import Session
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.results import Manifest


class History:
    """Seconds that stages took before, from the manifests of a store: the only basis of an estimate."""

    def __init__(self, store: Store, session: Session) -> None:
        """Reads all manifests; times of another device or engine, or on other training images, are left out.

        If jobs run on other machines, times of all devices of their kind count.
        """
        machine = session.machine
        manifests: dict[str, Manifest] = {}
        for stage, key in store.artifacts():
            with suppress(DamagedArtifactError):
                manifests[key] = store.manifest(stage, key)
        self._seconds: dict[tuple[str, str], list[float]] = {}
        for manifest in manifests.values():
            seconds = manifest.cost.wall_seconds + manifest.cost.phases.get("warm", 0.0)
            known = _of_its_kind(manifest, session) if session.elsewhere else manifest.cost.device == machine
            if known and _root(manifest, manifests) == session.digests[0]:
                for label in _labels(manifest.preimage):
                    self._seconds.setdefault((manifest.stage, label), []).append(seconds)

    def seconds(self, job: Job) -> float | None:
        """Median time of the same components with the same parameters, else of the same names; None if never run."""
        for label in _labels(job.preimage):
            if (job.stage, label) in self._seconds:
                return median(self._seconds[job.stage, label])
        return None


def _of_its_kind(manifest: Manifest, session: Session) -> bool:
    """True if it was made with this engine on a device of this kind, GPU or processor, of any name."""
    on_gpu = manifest.environment.get("cuda") is not None
    return on_gpu == session.device.startswith("cuda") and manifest.cost.device.endswith(session.engine.label)


def _root(manifest: Manifest, manifests: Mapping[str, Manifest]) -> str | None:
    """Digest of the training images at the beginning of an artifact's stages; None if an artifact before it is gone."""
    before = [manifests.get(key) for key in manifest.preimage["inputs"].values()]
    if "dataset" in manifest.preimage:
        return str(manifest.preimage["dataset"])
    return _root(before[0], manifests) if before and before[0] is not None else None


def _labels(preimage: dict[str, Any]) -> tuple[str, str]:
    """Digest and names of what a job runs: the component, and the defense that acts on its training."""
    acting = [part for part in (preimage["component"], preimage.get("defense")) if part is not None]
    return digest([[part["name"], part["parameters"]] for part in acting]), "+".join(part["name"] for part in acting)
