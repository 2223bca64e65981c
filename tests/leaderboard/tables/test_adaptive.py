from collections.abc import Callable

import pytest

from bench.store.results import CellResult
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]
GRAY, JPEG = "adaptive:base=em:through=iss-gray", "adaptive:base=em:through=iss-jpeg"
NEW = {"best_known_accuracy", "best_known_attack", "adaptive_attacks"}


def board_of(cells: list[CellResult]):
    return as_text(leaderboard_frame(cells_frame(cells))).set_index("defense_selection")


def informed(make_cell: MakeCell, attack: str, defense: str, accuracy: float, seeds: int = 3) -> list[CellResult]:
    return [make_cell(attack, defense, accuracy, seed=seed) for seed in range(seeds)]


def test_no_other_column_counts_an_adaptive_attack(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    cells = [cell for attack in (GRAY, JPEG) for cell in informed(make_cell, attack, "dvae", 0.3)]
    before, after = board_of(matrix), board_of([*matrix, *cells])
    same = [name for name in before.columns if name not in NEW]
    assert after[same].equals(before[same])
    assert before[sorted(NEW)].isna().all(axis=None)
    assert not cells_frame(cells)["counted"].any()


def test_the_best_known_attack_is_the_worst_of_all(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    cells = [*informed(make_cell, GRAY, "iss-gray", 0.40), *informed(make_cell, JPEG, "iss-gray", 0.60)]
    cells += informed(make_cell, JPEG, "dvae", 0.95)
    board = board_of([*matrix, *cells])
    gray, dvae = board.loc["iss-gray"], board.loc["dvae"]
    assert (gray.best_known_accuracy, gray.best_known_attack, gray.adaptive_attacks) == (pytest.approx(0.4), GRAY, 2)
    assert (dvae.best_known_accuracy, dvae.best_known_attack) == (pytest.approx(dvae.worst_accuracy), "ops")
    assert gray[f"accuracy[{JPEG}]"] == pytest.approx(0.6)


def test_an_adaptive_attack_without_all_seeds_is_not_counted(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    row = board_of([*matrix, *informed(make_cell, GRAY, "dvae", 0.1, seeds=2)]).loc["dvae"]
    assert row.adaptive_attacks == 0
    assert row.isna().best_known_accuracy
    assert row.mean_accuracy == pytest.approx(0.9)


def test_a_defense_with_adaptive_cells_alone_has_no_mean(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    for cells in (matrix, []):
        row = board_of([*cells, *informed(make_cell, GRAY, "bdr", 0.5)]).loc["bdr"]
        assert row.adaptive_attacks == 1
        assert row.isna().mean_accuracy
        assert row.isna().best_known_accuracy
