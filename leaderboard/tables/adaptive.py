"""The best known attack: the worst of all attacks, those included that were crafted with knowledge of a defense.

Adaptive attacks are never part of a row's mean, worst, recovery, cost or rank: those compare defenses against attackers
who know none of them. Every view shows them behind the other attacks (`in_order`), marked or under their own heading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from leaderboard.tables.columns import accuracy_column, half_width_column
from leaderboard.tables.statistics import half_width_95, mean

_NAME = "adaptive"


def names_adaptive(attack: str) -> bool:
    """True if an attack of this registered name or selection is adaptive, or a part of a chain (joined by `+`) is."""
    return any(part.partition(":")[0] == _NAME for part in attack.split("+"))


def in_order(attacks: Iterable[str]) -> list[str]:
    """Different selections in the order of every view: by name, the adaptive ones behind the others."""
    return sorted(set(attacks), key=lambda attack: (names_adaptive(attack), attack))


def is_adaptive(attacks: pd.Series[str]) -> pd.Series[bool]:
    """The same for a column of names."""
    return attacks.map(names_adaptive).astype(bool)


def best_known(row: Mapping[str, Any], cells: pd.DataFrame, seeds: Sequence[int]) -> dict[str, Any]:
    """The columns `best_known_*` and `adaptive_attacks` of a defense, and the accuracy against each adaptive attack.

    An adaptive attack counts if it has a cell for every seed. There is no best known attack where no adaptive one
    counts, or where the row lacks a cell of the other attacks. All columns are empty without a cell.

    Args:
        row: of the defense, from the other attacks.
        cells: of the defense against adaptive attacks.
        seeds: of the group.
    """
    if cells.empty:
        return {}
    done = cells[cells["status"] == "done"]
    table = done.pivot(index="seed", columns="attack_selection", values="clean_test_accuracy").reindex(index=seeds)
    found = {str(attack): accuracy for attack in table if (accuracy := mean(table[attack])) is not None}
    columns: dict[str, Any] = {accuracy_column(attack): accuracy for attack, accuracy in found.items()}
    columns |= {half_width_column(attack): half_width_95(table[attack]) for attack in found}
    columns["adaptive_attacks"] = len(found)
    if not found or row["mean_accuracy"] is None:
        return columns
    found[row["worst_attack"]] = row["worst_accuracy"]
    worst = min(found, key=lambda attack: (found[attack], attack))
    return columns | {"best_known_accuracy": found[worst], "best_known_attack": worst}
