from leaderboard.tables.table import cells_frame, leaderboard_frame
from tests.leaderboard.synthetic import DEFENSES, SEEDS, synthetic_cells


def test_made_up_cells_are_a_complete_matrix() -> None:
    cells = synthetic_cells(1)
    board = leaderboard_frame(cells_frame(cells))
    assert len(board) == DEFENSES + 1
    assert (board["seeds"] == SEEDS).all()
    assert board["missing"].sum() == 0
    assert synthetic_cells(1) == cells
