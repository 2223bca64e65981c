from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.store.results import CellResult
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame, leaderboard_frame

PARAMETERS = {"iss-gray": {"test_view": False}, "iss-jpeg": {"quality": 10, "test_view": False}}
MakeCell = Callable[..., CellResult]
GRAY, JPEG = "adaptive:base=em:through=iss-gray", "adaptive:base=em:through=iss-jpeg"
NEW = {"best_known_accuracy", "best_known_attack", "adaptive_attacks"}


def board_of(cells: list[CellResult]):
    return as_text(leaderboard_frame(cells_frame(cells))).set_index("defense_selection")


def informed(make_cell: MakeCell, attack: str, defense: str, accuracy: float, seeds: int = 3) -> list[CellResult]:
    through = attack.rpartition("=")[2]
    own = {f"through.{name}": value for name, value in PARAMETERS[through].items()}
    cells = [make_cell(attack, defense, accuracy, seed=seed) for seed in range(seeds)]
    return [
        replace(cell, attack=replace(cell.attack, parameters={"base": "em", "through": through, **own}))
        for cell in cells
    ]


def test_no_other_column_counts_an_adaptive_attack(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    cells = [cell for attack in (GRAY, JPEG) for cell in informed(make_cell, attack, "dvae", 0.3)]
    before, after = board_of(matrix), board_of([*matrix, *cells])
    same = [name for name in before.columns if name not in NEW]
    assert after[same].equals(before[same])
    assert before[sorted(NEW)].isna().all(axis=None)
    assert not cells_frame(cells)["counted"].any()


def test_the_best_known_attack_is_the_worst_of_all(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    cells = [*informed(make_cell, GRAY, "iss-gray", 0.40), *informed(make_cell, JPEG, "iss-gray", 0.60)]
    cells += informed(make_cell, JPEG, "iss-jpeg", 0.95)
    board = board_of([*matrix, *cells])
    gray, jpeg = board.loc["iss-gray"], board.loc["iss-jpeg"]
    assert (gray.best_known_accuracy, gray.best_known_attack, gray.adaptive_attacks) == (pytest.approx(0.4), GRAY, 1)
    assert (jpeg.best_known_accuracy, jpeg.best_known_attack) == (pytest.approx(jpeg.worst_accuracy), "ops")
    assert gray[f"accuracy[{JPEG}]"] == pytest.approx(0.6)


@pytest.mark.parametrize("defense", ["dvae", "iss-jpeg:quality=30"])
def test_a_defense_that_no_attack_was_crafted_through_has_no_best_known_attack(
    make_cell: MakeCell, matrix: list[CellResult], defense: str
) -> None:
    other = [c for c in matrix if c.defense.name == defense] or [
        replace(cell, key=f"{cell.key}-30", defense=replace(cell.defense, text=defense, parameters={"quality": 30}))
        for cell in matrix
        if cell.defense.name == "iss-jpeg"
    ]
    cells = [c for c in matrix if c.defense.name != "dvae"] + other + informed(make_cell, JPEG, defense, 0.2)
    cells = [replace(c, defense=other[0].defense) if c.defense.text == defense else c for c in cells]
    row = board_of(cells).loc[defense]
    assert row.adaptive_attacks == 0
    assert row[["best_known_accuracy", "best_known_attack"]].isna().all()
    assert row[f"accuracy[{JPEG}]"] == pytest.approx(0.2), "a transfer is shown in its own column"


def test_in_a_chain_the_parameters_have_a_prefix(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    cells = informed(make_cell, GRAY, "iss-gray", 0.40)
    chained = [
        replace(
            cell,
            attack=replace(
                cell.attack,
                name="adaptive+ops",
                parameters={f"adaptive.{name}": value for name, value in cell.attack.parameters.items()},
            ),
        )
        for cell in cells
    ]
    assert board_of([*matrix, *chained]).loc["iss-gray"].adaptive_attacks == 1


def test_an_adaptive_attack_without_all_seeds_is_not_counted(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    row = board_of([*matrix, *informed(make_cell, GRAY, "dvae", 0.1, seeds=2)]).loc["dvae"]
    assert row.adaptive_attacks == 0
    assert row.isna().best_known_accuracy
    assert row.mean_accuracy == pytest.approx(0.9)


def test_a_defense_with_adaptive_cells_alone_has_no_mean(make_cell: MakeCell, matrix: list[CellResult]) -> None:
    for cells in (matrix, []):
        alone = [cell for cell in cells if cell.defense.name != "iss-gray"]
        row = board_of([*alone, *informed(make_cell, GRAY, "iss-gray", 0.5)]).loc["iss-gray"]
        assert row.adaptive_attacks == 1
        assert row.isna().mean_accuracy
        assert row.isna().best_known_accuracy
