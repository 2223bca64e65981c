"""How far two runs of a cell may differ."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from bench.portable.reading import Export
from bench.portable.rerun import Rerun, drifts, interval_of_images, interval_of_seeds, must_be_equal, other_words
from bench.store.results import CellResult, Component, Cost

NONE = Component("none", "none", {})
COST = Cost({"train": 2.0}, 2.1, None, None, None, "CPU, 1 threads, float32", True, "2026-01-02T03:04:05+00:00")


def cell(accuracy: float, seed: int = 0, **changes) -> CellResult:
    found = CellResult(
        "k", "done", "demo", {}, NONE, NONE, NONE, seed, accuracy, 1000, costs={"train": COST},
        provenance={"torch": "2", "deterministic": True}, preimage=["demo", "float32", [], "a", "d", "v", seed],
    )  # fmt: skip
    return replace(found, **changes)


def test_the_interval_of_the_test_images_is_that_of_two_proportions():
    assert interval_of_images(cell(0.5), cell(0.5)) == pytest.approx(1.96 * math.sqrt(2 * 0.25 / 1002))
    assert 0 < interval_of_images(cell(1.0), cell(1.0)) < 0.005


def test_three_seeds_say_how_far_two_runs_differ():
    cells = {str(seed): cell(value, seed) for seed, value in enumerate((0.500, 0.504, 0.508))}
    assert interval_of_seeds(cells["0"], Export(Path(), cells=cells)) == pytest.approx(4.302653 * 0.004 * math.sqrt(2))
    wide = {str(seed): cell(value, seed) for seed, value in enumerate((0.95, 0.90, 0.85))}
    assert interval_of_seeds(wide["0"], Export(Path(), cells=wide)) == 0.05, "a submitter does not choose the tolerance"
    del cells["2"]
    assert interval_of_seeds(cells["0"], Export(Path(), cells=cells)) == 0.0
    other = replace(cell(0.9, 2), preimage=["demo", "float32", [], "another", "d", "v", 2])
    assert interval_of_seeds(cells["0"], Export(Path(), cells=cells | {"2": other})) == 0.0


def test_only_deterministic_runs_on_one_kind_of_device_must_be_equal():
    one = cell(0.5)
    assert must_be_equal(one, cell(0.5))
    for changes in (
        {"provenance": {"torch": "3", "deterministic": True}},
        {"provenance": {"torch": "2", "deterministic": False}},
        {"costs": {"train": replace(COST, device="GPU")}},
    ):
        assert not must_be_equal(one, cell(0.5, **changes))


def test_agreement_and_ratios():
    here = cell(0.51, costs={"train": replace(COST, phases={"train": 3.0})})
    found = Rerun(cell(0.5), here, "", 0.02)
    assert found.agrees
    assert found.ratio("train") == 1.5
    assert found.ratio("purify") is None
    assert not replace(found, allowed=0.005).agrees
    assert not replace(found, problem="failed").agrees
    assert not Rerun(cell(0.5), None).agrees


def test_another_name_or_description_is_told_whatever_the_accuracy():
    one = cell(0.5, dataset={"name": "shapes", "shape": [3, 32, 32], "notes": ["there"]})
    assert other_words(one, replace(one, dataset=one.dataset | {"notes": []})) == ""
    other = replace(one, dataset=one.dataset | {"name": "cifar10"})
    assert other_words(other, one) == "dataset.name: 'cifar10' in the folder, 'shapes' here"
    other = replace(one, victim=replace(NONE, extra={"recipe": {"epochs": 9}}))
    assert other_words(other, one) == "victim.extra: {'recipe': {'epochs': 9}} in the folder, {} here"


def test_a_difference_in_one_direction_is_told_though_each_cell_agrees():
    inflated = [Rerun(cell(0.56, seed), cell(0.5, seed), "", 0.08) for seed in range(4)]
    assert all(one.agrees for one in inflated)
    (found,) = drifts(inflated)
    assert (found.defense, found.cells, found.allowed) == ("none", 4, pytest.approx(0.04))
    assert found.mean == pytest.approx(-0.06)
    assert not found.agrees
    both_ways = [*inflated[:2], *(Rerun(one.here, one.there, "", 0.08) for one in inflated[2:])]
    assert [one.agrees for one in drifts(both_ways)] == [True]
    equal = [replace(one, allowed=0.0) for one in inflated]
    assert drifts([*equal, replace(inflated[0], problem="failed"), inflated[1]]) == []


def test_the_place_of_a_data_set_may_be_another_one_if_it_was_given():
    there, here = (
        cell(0.5, dataset={"spec": f"npz:{path}", "name": path, "test_images": 1000}) for path in ("/a/b.npz", "c.npz")
    )
    assert other_words(there, here).startswith("dataset.")
    assert other_words(there, here, ("spec", "name")) == ""
    here.dataset["test_images"] = 999
    assert other_words(there, here, ("spec", "name")).startswith("dataset.test_images: ")
