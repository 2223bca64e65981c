"""Stores of several machines as one: the same cell twice."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.tables.flags import Flag
from leaderboard.tables.stores import described_repeats, read_stores, repeat_flags

MakeCell = Callable[..., CellResult]


def store(root: Path, *cells: CellResult) -> Path:
    (root / "cells").mkdir(parents=True)
    for number, cell in enumerate(cells):
        (root / "cells" / f"{number}.json").write_text(json.dumps(asdict(cell)))
    return root


def test_a_copy_of_a_store_changes_nothing(make_cell: MakeCell, tmp_path: Path) -> None:
    stored = read_stores([store(tmp_path / "a", make_cell()), store(tmp_path / "b", make_cell())])
    assert stored.cells == [make_cell()]
    assert stored.repeated == []
    assert described_repeats(stored) == []


def test_other_costs_of_the_same_cell_are_kept_and_told(make_cell: MakeCell, tmp_path: Path) -> None:
    key = make_cell("lsp", "dvae").key
    slow, fast = (make_cell("lsp", "dvae", purify=seconds, device=device) for seconds, device in ((99, "A"), (9, "B")))
    paths = [store(tmp_path / "a", slow), store(tmp_path / "b", fast, make_cell())]
    stored = read_stores(paths)
    assert {cell.key: cell for cell in stored.cells}[key] == slow
    assert stored.repeated == [fast]
    (text,) = described_repeats(stored)
    assert "1 cell is in several stores with the same accuracy and other costs" in text
    assert "dvae against lsp, seed 0: 3.33 min on A is shown, 110 s on B is not" in text
    assert read_stores(paths[::-1]).repeated == [slow]


def test_a_finished_cell_goes_before_a_failed_one(make_cell: MakeCell, tmp_path: Path) -> None:
    failed = make_cell(status="failed")
    done = make_cell()
    failed = type(failed)(**{**vars(failed), "key": done.key})
    paths = [store(tmp_path / "a", failed), store(tmp_path / "b", done)]
    assert read_stores(paths).cells == read_stores(paths[::-1]).cells == [done]
    assert read_stores(paths).repeated == []


def test_another_accuracy_is_refused(make_cell: MakeCell, tmp_path: Path) -> None:
    paths = [store(tmp_path / "a", make_cell(accuracy=0.5)), store(tmp_path / "b", make_cell(accuracy=0.6))]
    with pytest.raises(UserError, match=r"accuracies differ \(0.5 and 0.6\)\. Machines .*--first-wins"):
        read_stores(paths)


def test_all_disagreements_are_counted(make_cell: MakeCell, tmp_path: Path) -> None:
    paths = [
        store(tmp_path / name, *(make_cell(accuracy=a, seed=s) for s in (0, 1))) for name, a in (("a", 0.5), ("b", 0.6))
    ]
    with pytest.raises(UserError, match="2 cells disagree in all"):
        read_stores(paths)


def test_the_first_store_wins_if_asked(make_cell: MakeCell, tmp_path: Path) -> None:
    one, other = make_cell(accuracy=0.5), make_cell(accuracy=0.6)
    costly = [make_cell("ops", train=seconds) for seconds in (90, 80)]
    paths = [store(tmp_path / "a", one, costly[0]), store(tmp_path / "b", other, costly[1])]
    stored = read_stores(paths, first_wins=True)
    assert stored.cells == [one, costly[0]]
    assert stored.repeated == [other, costly[1]]
    assert repeat_flags(stored.cells, stored.repeated) == {
        one.key: Flag.OTHER_ACCURACY,
        costly[0].key: Flag.OTHER_COSTS,
    }
    accuracies, costs = described_repeats(stored)
    assert "1 cell is in several stores with different accuracies" in accuracies
    assert "0.5 is shown, 0.6 is not" in accuracies
    assert "1 cell is in several stores with the same accuracy and other costs" in costs
    assert read_stores(paths[::-1], first_wins=True).cells == [other, costly[1]]
