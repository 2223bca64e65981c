"""When the board says that a poison did not take: ten classes, 10,000 test images; a tenth of 95 % is 8.5 points."""

from collections.abc import Callable

import pytest

from bench.store.results import CellResult
from leaderboard.tables.columns import as_text
from leaderboard.tables.flags import Flag
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]


def _flags(cells: list[CellResult]) -> dict[tuple[str, str, int], str]:
    frame = as_text(cells_frame(cells)).set_index(["attack_selection", "defense_selection", "seed"])
    return frame["flags"].to_dict()


@pytest.mark.parametrize(
    ("undefended", "flag"),
    [(0.97, Flag.NOT_TAKEN), (0.95, Flag.NOT_TAKEN), (0.866, Flag.NOT_TAKEN), (0.864, ""), (0.1, "")],
)
def test_a_tenth_above_chance_decides_for_all_cells_of_an_attack(
    make_ranked_cell: MakeCell, undefended: float, flag: str
) -> None:
    cells = [
        make_ranked_cell("none", "none", 0.95),
        make_ranked_cell("none", "dvae", 0.93),
        make_ranked_cell("lsp", "none", undefended),
        make_ranked_cell("lsp", "dvae", 0.9),
        make_ranked_cell("ops", "none", 0.2),
        make_ranked_cell("ops", "dvae", 0.9),
    ]
    assert _flags(cells) == {
        ("none", "none", 0): "",
        ("none", "dvae", 0): "",
        ("lsp", "none", 0): flag,
        ("lsp", "dvae", 0): flag,
        ("ops", "none", 0): "",
        ("ops", "dvae", 0): "",
    }
    board = as_text(leaderboard_frame(cells_frame(cells))).set_index("defense")["flags"]
    assert board["dvae"] == (f"{flag}: lsp" if flag else "")


def test_the_mean_over_seeds_decides(make_cell: MakeCell) -> None:
    accuracies = [0.90, 0.85, 0.82]  # alone, the first would not have taken
    cells = [make_cell("lsp", "none", accuracy, seed=seed) for seed, accuracy in enumerate(accuracies)]
    cells += [make_cell("none", "none", 0.95, seed=seed) for seed in range(3)]
    assert set(_flags(cells).values()) == {""}
    alone = [cell for cell in cells if cell.seed == 0]
    assert _flags(alone)["lsp", "none", 0] == Flag.NOT_TAKEN


def test_a_difference_that_few_test_images_leave_open_is_no_effect(make_cell: MakeCell) -> None:
    cells = [make_cell("none", "none", 0.95), make_cell("lsp", "none", 0.80)]
    assert _flags(cells)["lsp", "none", 0] == ""
    few = [CellResult(**{**vars(cell), "test_images": 20}) for cell in cells]
    assert _flags(few)["lsp", "none", 0] == Flag.NOT_TAKEN


def test_nothing_is_said_without_both_baselines_nor_of_unfinished_cells(make_cell: MakeCell) -> None:
    assert _flags([make_cell("lsp", "none", 0.95)])["lsp", "none", 0] == ""
    assert _flags([make_cell("none", "none", 0.95), make_cell("lsp", "dvae", 0.95)])["lsp", "dvae", 0] == ""
    failed = make_cell("lsp", "dvae", status="failed")
    flags = _flags([make_cell("none", "none", 0.95), make_cell("lsp", "none", 0.94), failed])
    assert (flags["lsp", "none", 0], flags["lsp", "dvae", 0]) == (Flag.NOT_TAKEN, "")


def test_every_victim_and_preset_is_judged_by_its_own_baselines(make_cell: MakeCell) -> None:
    cells = [
        make_cell("none", "none", 0.95),
        make_cell("lsp", "none", 0.2),
        make_cell("none", "none", 0.85, victim="vit"),
        make_cell("lsp", "none", 0.84, victim="vit", logs={"poison": {"converged": False}}),
    ]
    frame = as_text(cells_frame(cells)).set_index(["victim", "attack"])["flags"]
    assert frame["resnet18", "lsp"] == ""
    assert frame["vit", "lsp"] == f"attack not converged, {Flag.NOT_TAKEN}"
