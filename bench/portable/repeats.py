"""Measurements of two artifacts that cannot be those of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.portable.coordinates import short
from bench.store.results import Manifest

_TELLING = 1.0
"""Seconds from which two runs of one process end at different times (`created` has whole seconds), and no two runs of
different processes take equally long to the microsecond."""


def repeats(manifests: Mapping[tuple[str, str], Mapping[str, Manifest]]) -> Iterator[str]:
    """Runs that stand under two keys, and equal predictions with two accuracies, as `FILE: FIELD: why`.

    An artifact that was measured twice (`bench merge`) has one key. A stage that passes its input on takes no time.

    Args:
        manifests: (stage, key) -> path -> manifest.
    """
    runs: dict[tuple[object, ...], tuple[str, Manifest]] = {}
    predictions: dict[tuple[object, ...], tuple[str, Manifest]] = {}
    for of_artifact in manifests.values():
        for path, manifest in of_artifact.items():
            cost = manifest.cost
            if cost.wall_seconds >= _TELLING and manifest.checksum:
                run = (manifest.stage, manifest.checksum, cost.created, cost.wall_seconds)
                other, first = runs.setdefault(run, (path, manifest))
                if first.key != manifest.key:
                    yield f"{path}: cost: is that of {other}, with the same data: one run gives one artifact"
            if manifest.stage == "train" and manifest.checksum:
                judged = (manifest.checksum, str(manifest.preimage.get("test")))
                other, first = predictions.setdefault(judged, (path, manifest))
                here, there = (one.payload.get("clean_test_accuracy") for one in (manifest, first))
                if here != there:
                    yield (
                        f"{path}: payload.clean_test_accuracy: {short(here)}, {other} has {short(there)} with the same "
                        "predictions"
                    )
