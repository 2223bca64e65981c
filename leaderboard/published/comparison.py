"""Published next to measured values as a table: what `comparison.csv` and the page say of every printed value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from leaderboard.published.pairs import Pair, published_of
from leaderboard.published.values import Comparison
from leaderboard.tables.columns import BOARD_COLUMNS, CELL_COLUMNS, Column, typed

_OF_GROUP = ["dataset_selection", "dataset_digest", "preset", "victim_selection", "precision"]
"""Columns that tell which group of the board a comparison belongs to."""

COMPARISON_COLUMNS = {
    **{name: BOARD_COLUMNS[name] for name in _OF_GROUP},
    "attack_selection": CELL_COLUMNS["attack_selection"],
    "defense_selection": CELL_COLUMNS["defense_selection"],
    "published_accuracy": Column("float64", "as the source prints it", "fraction"),
    "published_std": Column("float64", "where the source prints one", "fraction"),
    "published_half_width_95": Column("float64", "from it, where the number of runs is printed too", "fraction"),
    "source": Column("string", "key of the source in leaderboard/published/PUBLISHED.md"),
    "year": Column("Int64", "of its publication"),
    "marks": Column(
        "string", "repeat of undefended, oracle, or knowledge beyond the poisoned set that its method uses"
    ),
    "published_budget": Column("string", "norm and radius, as far as the source or its code prints them"),
    "published_recipe": Column("string", "attack / defense with all stated parameters; a|b: both fit"),
    "measured_accuracy": Column("float64", "mean over seeds; null if a seed is missing", "fraction"),
    "measured_half_width_95": Column("float64", "95 % Student-t half-width of that mean", "fraction"),
    "difference": Column("float64", "measured - published", "fraction"),
    "tolerance": Column("float64", "largest difference that counts as reproduced; null if not comparable", "fraction"),
    "verdict": Column("string", "reproduced, differs, undecided, not comparable or other method"),
    "reason": Column("string", "the tolerance and doubts, or why there is no comparison"),
    "recipe_difference": Column("string", "what the source did otherwise in training the victim, or does not print"),
    "note": Column("string", "where in the source, and doubts"),
}


def comparison_frame(board: pd.DataFrame, pairs: Sequence[dict[str, Pair]]) -> pd.DataFrame:
    """One row for each published value of each measured defense and attack, in the order of the board.

    Args:
        board: from `leaderboard_frame`.
        pairs: from `pairs_of`, one per row of the board.
    """
    rows = [
        row | _columns(found)
        for row, of_row in zip(board[[*_OF_GROUP, "defense_selection"]].to_dict("records"), pairs, strict=True)
        for found in published_of([of_row])
    ]
    return typed(rows, COMPARISON_COLUMNS)


def _columns(found: Comparison) -> dict[str, Any]:
    measured, published = found.measured, found.published
    return {
        "attack_selection": measured.attack_selection,
        "published_accuracy": published.accuracy,
        "published_std": published.std,
        "published_half_width_95": published.half_width_95,
        "source": published.source,
        "year": published.year,
        "marks": published.mark_text,
        "published_budget": published.budget,
        "published_recipe": found.recipe,
        "measured_accuracy": measured.accuracy,
        "measured_half_width_95": measured.half_width_95,
        "difference": found.difference,
        "tolerance": found.tolerance,
        "verdict": found.verdict,
        "reason": found.reason,
        "recipe_difference": found.recipe_difference,
        "note": published.note,
    }
