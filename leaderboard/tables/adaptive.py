"""The best known attack: the worst of all attacks, those included that were crafted with knowledge of a defense.

Adaptive attacks are never part of a row's mean, worst, recovery, cost or rank: those compare defenses against attackers
who know none of them. Every view shows them behind the other attacks (`in_order`), marked or under their own heading.
"""

from __future__ import annotations

import json
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

    An adaptive attack counts if it was crafted through this very defense and has a cell for every seed. There is no
    best known attack where none counts, or where the row lacks a cell of the other attacks: the worst of attacks that
    know nothing of the defense would look like the result of an attempt to break it. Where one counts, attacks that
    were crafted through other defenses may be the worst too. All columns are empty without a cell.

    Args:
        row: of the defense, from the other attacks, with `defense_parameters` (JSON).
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
    first = cells.drop_duplicates("attack_selection").set_index("attack_selection")["attack_parameters"]
    defense = row["defense"], json.loads(row["defense_parameters"])
    columns["adaptive_attacks"] = sum(_through(first[attack]) == defense for attack in found)
    if not columns["adaptive_attacks"] or row["mean_accuracy"] is None:
        return columns
    found[row["worst_attack"]] = row["worst_accuracy"]
    worst = min(found, key=lambda attack: (found[attack], attack))
    return columns | {"best_known_accuracy": found[worst], "best_known_attack": worst}


def _through(written: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters of the defense that an adaptive attack was crafted through; in a chain they have a prefix."""
    given = {name.removeprefix(f"{_NAME}."): value for name, value in json.loads(written).items()}
    own = {name.removeprefix("through."): value for name, value in given.items() if name.startswith("through.")}
    return str(given.get("through", "")), own
