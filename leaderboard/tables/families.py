"""A family's best member per attack, as papers report it: a choice made with test labels, shown and never ranked.

Several settings of a defense without a family are one too. Their choice is also judged on attacks that it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from leaderboard.tables.columns import accuracy_column, half_width_column
from leaderboard.tables.flags import Flag, Raised
from leaderboard.tables.statistics import mean
from leaderboard.tables.targets import TARGETS

_SUMS = (
    *("cost_seconds", "cost_seconds_min", "cost_seconds_max", "purify_seconds", "extra_train_seconds"),
    *("warm_seconds", "cost_energy_joules"),
)
_FROM_FILE = "from-file"
_OF_ACCURACY = {Flag.CLEAN_LOST, Flag.BELOW_ENVELOPE, Flag.VARIES}
_OF_GROUP = ("envelope_accuracy", "envelope_defense", "envelope_settings")


def families(rows: pd.DataFrame) -> pd.Series[str]:
    """Name of the family that each cell or row is of; "" if it is of none.

    A family has its defenses with the preset's own parameters, as the paper has: gray and JPEG-10, not JPEG at a
    quality that was swept. A defense without a family makes one of all its settings.
    """
    declared = rows["family"].where(rows["defense_selection"] == rows["defense"], "")
    return declared.where(rows["family"] != "", rows["defense"].where(rows["defense"] != "none", ""))


def held_out(members: pd.DataFrame) -> dict[str, float | None]:
    """The columns `held_out_*`: for each attack the setting with the best mean against the others, judged on it.

    No setting of the attack that is left out takes part in the choice. Equal settings of the defense: the first by
    name. None for fewer than two attacks.

    Args:
        members: finished cells of all settings; clean data (attack `none`) is not looked at.
    """
    poisoned = members[members["attack_selection"] != "none"]
    accuracy = poisoned.groupby(["attack_selection", "defense_selection"], sort=True)["clean_test_accuracy"].mean()
    table = accuracy.unstack("defense_selection")
    alike = same_attack(poisoned)
    if len(alike) < 2:
        return {"held_out_mean": None, "held_out_worst": None}
    judged: list[float] = []
    for attacks in alike:
        chosen = table.drop(attacks).mean().idxmax()
        judged += table.loc[attacks, chosen].tolist()
    return {"held_out_mean": sum(judged) / len(judged), "held_out_worst": min(judged)}


def same_attack(cells: pd.DataFrame) -> list[list[str]]:
    """The attacks of these cells by selection; all settings of one attack stand together.

    An attack is one registered name. Each poison from a file is an attack of its own.
    """
    found: dict[str, list[str]] = {}
    for selection, name in cells.groupby("attack_selection", sort=True)["attack"].first().items():
        found.setdefault(str(selection) if _FROM_FILE in name.split("+") else name, []).append(str(selection))
    return list(found.values())


def tuning_seconds(members: pd.DataFrame) -> float | None:
    """Seconds that a choice among these settings took: every purification and training of a cell, each once.

    None if one was not measured.

    Args:
        members: finished cells of all settings.
    """
    purified = members[members["purify_key"].isna() | ~members.duplicated("purify_key")]
    seconds = [*purified["purify_seconds"], *members["train_seconds"]]
    whole = mean(seconds)
    return None if whole is None else whole * len(seconds)


def best_per_attack(members: pd.DataFrame) -> pd.DataFrame:
    """Of the finished cells of a family, those of the member with the highest mean over seeds, for each attack.

    Equal members: the first by name. The clean training set (attack `none`) is chosen for like any attack.
    """
    accuracy = members.groupby(["attack_selection", "defense_selection"], sort=True)["clean_test_accuracy"].mean()
    best = accuracy.unstack("defense_selection").idxmax(axis=1)
    return members[members["defense_selection"] == members["attack_selection"].map(best)]


def family_row(
    name: str, row: Mapping[str, Any], members: Sequence[Mapping[str, Any]], not_counted: Sequence[str] = ()
) -> dict[str, Any]:
    """Turns the row of the chosen cells into the family's: it costs what all members cost, for one has to run all.

    The trainings of the victim that the comparison takes are no part of that cost, as they are not in the papers; they
    are in `tuning_seconds`.

    Args:
        name: of the family.
        row: leaderboard row of the cells from `best_per_attack`.
        members: the members' leaderboard rows.
        not_counted: attacks whose accuracies stand beside the others.
    """
    extra = _over(members, "cost_multiple", lambda values: sum(value - 1 for value in values))
    return {
        **row,
        "family": name,
        "defense": f"{name} (best per attack)",
        "defense_selection": f"{name} (best per attack)",
        "uses": _united(members, "uses"),
        "cost_multiple": None if extra is None else 1 + extra,
        **{column: _over(members, column, sum) for column in _SUMS},
        **{f"seconds_to_{target}": None for target in TARGETS},  # of which member is known only after all have run
        "peak_gpu_bytes": _over(members, "peak_gpu_bytes", max),
        "peak_host_bytes": _over(members, "peak_host_bytes", max),
        "device": _united(members, "device"),
        **{column: members[0][column] for column in _OF_GROUP},
        **{column: value for attack in not_counted for column, value in _best_against(attack, members).items()},
        "flags": (Raised(Flag.ORACLE, _declared(members)), *_flags(row, members)),
    }


def _declared(members: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the members that there are of a family; of a defense without one all settings are, so none is named."""
    return tuple(str(member["defense_selection"]) for member in members if member["family"])


def _best_against(attack: str, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The two columns of an attack, of the member with the highest accuracy; none if one of them lacks it."""
    accuracy, half_width = accuracy_column(attack), half_width_column(attack)
    if any(member.get(accuracy) is None for member in members):
        return {}
    best = max(members, key=lambda member: float(member[accuracy]))
    return {accuracy: best[accuracy], half_width: best[half_width]}


def _flags(row: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> tuple[Raised, ...]:
    """Flags of all members, for all of them are run; but what a flag says of accuracies is that of the chosen cells."""
    of_members = [raised for raised in _united(members, "flags") if raised.flag not in _OF_ACCURACY]
    return (*of_members, *(raised for raised in row["flags"] if raised.flag in _OF_ACCURACY))


def _united(members: Sequence[Mapping[str, Any]], name: str) -> tuple[Any, ...]:
    """All values in the tuples of the members, each once, sorted by its text."""
    return tuple(sorted({value for member in members for value in member[name]}, key=str))


def _over(members: Sequence[Mapping[str, Any]], name: str, combine: Any) -> Any:
    """Combines a column of all members, or None if one of them lacks it."""
    values = [member[name] for member in members]
    return None if any(value is None for value in values) else combine(values)
