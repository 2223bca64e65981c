"""One run gives one artifact, and the same predictions have one accuracy."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.merge import refuse_copies
from bench.errors import UserError
from bench.portable.reading import Export
from bench.portable.repeats import repeats
from bench.store.results import Cost, Manifest

COST = Cost({"train": 2.0}, 2.1, None, None, None, "CPU, 2 threads, float32", True, "2026-01-02T03:04:05+00:00")
TRAINED = Manifest("a", "train", {"test": "t"}, "sum", 4088, "", COST, {"clean_test_accuracy": 0.5}, {})


def found(*manifests: Manifest) -> list[str]:
    by_key: dict[tuple[str, str], dict[str, Manifest]] = {}
    for number, manifest in enumerate(manifests):
        by_key.setdefault((manifest.stage, manifest.key), {})[f"file {number}"] = manifest
    return list(repeats(by_key))


def test_a_run_under_two_keys_is_told_whatever_its_stage():
    for stage in ("poison", "purify", "train"):
        one = replace(TRAINED, stage=stage)
        (told,) = found(one, replace(one, key="b"))
        assert told.startswith("file 1: cost: is that of file 0")


def test_two_runs_may_share_all_but_one():
    for other in (
        TRAINED,  # measured once, in two folders that were merged
        replace(TRAINED, checksum="other", key="b"),
        replace(TRAINED, cost=replace(COST, created="2026-01-02T03:04:06+00:00"), key="b"),
        replace(TRAINED, cost=replace(COST, wall_seconds=2.100001), key="b"),
        replace(TRAINED, stage="purify", key="b"),
    ):
        assert found(TRAINED, other) == []


def test_stages_that_take_no_time_are_not_compared():
    """`at` and `op` pass a poison on: the same samples, in one second, with no time."""
    one = replace(TRAINED, stage="purify", alias_of="poison", cost=replace(COST, wall_seconds=0.0))
    assert found(one, replace(one, key="b")) == []


def test_equal_predictions_on_the_same_images_have_one_accuracy():
    later = replace(TRAINED, key="b", cost=replace(COST, created="2026-01-02T03:05:05+00:00"))
    assert found(TRAINED, later) == []
    forged = replace(later, payload={"clean_test_accuracy": 0.6})
    (told,) = found(TRAINED, forged)
    assert told.startswith("file 1: payload.clean_test_accuracy: 0.6, file 0 has 0.5")
    assert found(TRAINED, replace(forged, preimage={"test": "other"})) == []


def test_a_run_of_one_folder_has_no_other_key_in_another():
    def folder(name: str, manifest: Manifest) -> Export:
        return Export(Path(name), manifests={(manifest.stage, manifest.key): {"file": manifest}})

    refuse_copies([folder("board", TRAINED), folder("same", TRAINED)])
    refuse_copies([folder("board", TRAINED), folder("own", replace(TRAINED, key="b", checksum="own"))])
    with pytest.raises(UserError, match=r"1 artifact of .*\n  copy/file: cost: is that of board/file"):
        refuse_copies([folder("board", TRAINED), folder("copy", replace(TRAINED, key="b"))])
