"""Costs in the cells of a run: all that a defense does is charged, and short purifications are repeated."""

import pytest

from bench import run_matrix
from bench.registry import defenses
from bench.store.results import read_cell

REMEMBERS = '''
import time
from dataclasses import dataclass, replace

from bench.registry import defenses

MEMO = []


@defenses.register("remembers", source="x")
@dataclass(frozen=True)
class Remembers:
    """A test."""

    def purify(self, train, ctx):
        end = time.process_time() + (0 if MEMO else 0.35)
        while time.process_time() < end:
            pass
        MEMO.append(1)
        return replace(train, images=train.images + 0)
'''

DRIFTS = '''
from dataclasses import dataclass, replace

from bench.registry import defenses

RUNS = []


@defenses.register("drifts", source="x", deterministic=True)
@dataclass(frozen=True)
class Drifts:
    """A test."""

    def purify(self, train, ctx):
        RUNS.append(1)
        return replace(train, images=train.images // len(RUNS))
'''


OPTIONS = {"preset": "demo", "dataset": "shapes:train=40:test=20", "victims": "linear:epochs=1"}


@pytest.fixture
def cells_of(tmp_path):
    """Runs the defense that a source registers under a name, with its store in `tmp_path / "store"`."""
    ran = []

    def run(name, source, **options):
        ran.append(name)
        plugin = tmp_path / f"{name}.py"
        plugin.write_text(source)
        return run_matrix("none", name, store=tmp_path / "store", plugins=[plugin], **OPTIONS, **options)

    yield run
    for name in ran:
        defenses._entries.pop(name, None)


def test_a_memo_is_charged_its_first_run(cells_of):
    cells = cells_of("remembers", REMEMBERS, repeat_costs=3)
    (memo,) = cells[cells["defense"] == "remembers"].itertuples()
    assert memo.purify_seconds == memo.purify_seconds_max > 0.3
    assert memo.purify_seconds_min < 0.1
    assert memo.flags == "first run slower than its repeats"


def test_a_run_repeats_a_short_purification_and_records_it(tmp_path):
    run_matrix("none", "iss-gray", store=tmp_path, repeat_costs=6, **OPTIONS)
    cells = [read_cell(path) for path in (tmp_path / "cells").glob("*.json")]
    (gray,) = [cell.costs["purify"] for cell in cells if cell.defense.name == "iss-gray"]
    assert len(gray.repeats) == 6
    assert gray.wall_seconds == sorted(gray.repeats)[2]
    (none,) = [cell.costs["purify"] for cell in cells if cell.defense.name == "none"]
    assert none.repeats == []


def test_a_deterministic_defense_must_repeat_its_bytes(cells_of):
    cells = cells_of("drifts", DRIFTS)
    (message,) = cells.loc[cells["defense"] == "drifts", "error_message"]
    assert "two runs differ" in message


def test_all_that_a_defense_runs_is_charged(cells_of, tmp_path):
    """Construction, change_recipe and view: each takes some time here, and each stands in a phase that is paid."""
    cells = cells_of("slow", SLOW)
    (row,) = cells[cells["defense"] == "slow"].to_dict("records")
    cell = read_cell(tmp_path / "store" / "cells" / f"{row['key']}.json")
    train = cell.costs["train"].phases
    assert cell.costs["purify"].wall_seconds >= 0.02, "constructed in the stage"
    assert train["change_recipe"] >= 0.04, "constructed, and the recipe changed"
    assert row["train_seconds"] == pytest.approx(train["train"] + train["change_recipe"])
    assert row["view_seconds"] == pytest.approx(train["view"], abs=1e-5)
    assert row["view_seconds"] >= 0.04
    assert row["warm_seconds"] > 0


SLOW = '''
import time
from dataclasses import dataclass, replace

from bench.registry import defenses


def work():
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        pass


@defenses.register("slow", source="x", deterministic=True)
@dataclass(frozen=True)
class Slow:
    """A test."""

    def __post_init__(self):
        work()

    def purify(self, train, ctx):
        return replace(train, images=train.images // 2)

    def change_recipe(self, recipe):
        work()
        return replace(recipe, epochs=2)

    def view(self, images_u8):
        work()
        return images_u8 // 2
'''
