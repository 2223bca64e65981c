"""Boards of cells, and cells without one of them."""

import pandas as pd

from bench.store.results import CellResult
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame, leaderboard_frame


def board_of(cells: list[CellResult]) -> pd.DataFrame:
    """The leaderboard by defense."""
    return as_text(leaderboard_frame(cells_frame(cells))).set_index("defense")


def without(cells: list[CellResult], attack: str, defense: str, seed: int) -> list[CellResult]:
    return [c for c in cells if (c.attack.name, c.defense.name, c.seed) != (attack, defense, seed)]
