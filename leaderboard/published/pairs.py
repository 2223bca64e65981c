"""Each defense against each attack: the mean with its interval, its cells and its published values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.published.values import (
    NOT_COMPARABLE,
    ORACLE,
    OTHER_METHOD,
    Comparison,
    comparisons,
    measured_of,
)
from leaderboard.tables.columns import GROUP, accuracy_columns, half_width_column
from leaderboard.tables.families import families
from leaderboard.tables.flags import Flag, has
from leaderboard.tables.statistics import half_width_95

_FACTS = ["dataset", "train_images", "attack", "budget", "victim"]
_SETTINGS = ["epochs", "attack_parameters", "defense_parameters", "victim_parameters"]


@dataclass(frozen=True)
class Pair:
    """One defense against one attack: mean over seeds and its 95 % half-width, None where a seed is missing.

    `keys` are the finished cells by seed; those of the chosen member in a family's best per attack.
    """

    attack: str
    accuracy: float | None
    half_width_95: float | None
    keys: dict[int, str]
    published: list[Comparison]

    @property
    def alike(self) -> list[Comparison]:
        """Published values of this budget, method and of the parameters that they state; no oracles."""
        return [
            found
            for found in self.published
            if found.same_budget
            and found.same_parameters
            and found.verdict != OTHER_METHOD
            and ORACLE not in found.published.marks
        ]

    @property
    def best_known(self) -> Comparison | None:
        """The highest of them, of comparable ones if there are any; of an undefended poison the lowest, its best."""
        comparable = [found for found in self.alike if found.verdict != NOT_COMPARABLE]
        undefended = self.attack != "none" and any(found.measured.defense == "none" for found in self.alike)
        best = min if undefended else max
        return best(comparable or self.alike, key=lambda found: found.published.accuracy, default=None)


def pairs_of(current: pd.DataFrame, board: pd.DataFrame) -> list[dict[str, Pair]]:
    """For every row of the board its pairs by attack selection, clean training data (`none`) first.

    Args:
        current: from `current_cells`.
        board: from `leaderboard_frame`.
    """
    keys: dict[tuple[Any, ...], dict[int, str]] = {}
    clean: dict[tuple[Any, ...], list[float]] = {}
    done = current[current["status"] == "done"]
    coordinates = [*GROUP, "defense_selection", "attack_selection"]
    recorded = [*coordinates, "seed", "key", "clean_test_accuracy"]
    for *where, attack, seed, key, accuracy in done[recorded].itertuples(index=False, name=None):
        keys.setdefault((*where, attack), {})[int(seed)] = key
        if attack == "none":
            clean.setdefault(tuple(where), []).append(accuracy)
    facts = {
        tuple(where): dict(zip(_FACTS, values, strict=True))
        for *where, values in zip(
            *(current[name] for name in (*GROUP, "attack_selection")),
            current[_FACTS].itertuples(index=False, name=None),
            strict=True,
        )
    }
    settings = {
        tuple(row[name] for name in coordinates): row
        for part in (current, done)
        for row in part[[*coordinates, *_SETTINGS]].to_dict("records")
    }
    attacks = accuracy_columns(board)
    found = []
    for row in board.to_dict("records"):
        group = tuple(row[name] for name in GROUP)
        widths = {name: row[half_width_column(name)] for name in attacks}
        if not formats.is_missing(row["clean_accuracy"]):
            widths["none"] = half_width_95(clean.get((*group, _measured_as(row, "clean_accuracy", board)), []))
        of_row = {}
        for attack, column in {"none": "clean_accuracy", **attacks}.items():
            fact = facts.get((*group, attack))
            if fact is None:
                continue
            mean, half = _number(row[column]), _number(widths.get(attack))
            own = settings.get((*group, row["defense_selection"], attack), dict.fromkeys(_SETTINGS))
            published = comparisons(measured_of({**row, "attack_selection": attack, **fact, **own}, mean, half))
            cells = keys.get((*group, _measured_as(row, column, board), attack), {})
            of_row[attack] = Pair(attack, mean, half, cells, published)
        found.append(of_row)
    return found


def published_of(rows: Iterable[Mapping[str, Pair]]) -> list[Comparison]:
    """All comparisons of these rows of the board, in their order."""
    return [found for row in rows for pair in row.values() for found in pair.published]


def _measured_as(row: Mapping[Any, Any], accuracy: str, board: pd.DataFrame) -> str:
    """The defense whose cells are behind an accuracy: of a family's best per attack, the member that has it."""
    own = str(row["defense_selection"])
    if not has(Flag.ORACLE, row["flags"]):
        return own
    alike = (board[GROUP] == [row[name] for name in GROUP]).all(axis=1) & (families(board) == row["family"])
    members = board.loc[alike & (board["defense_selection"] != own) & (board[accuracy] == row[accuracy])]
    return str(min(members["defense_selection"], default=own))


def _number(value: Any) -> float | None:
    return None if formats.is_missing(value) else float(value)
