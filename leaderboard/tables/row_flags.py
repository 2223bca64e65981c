"""Flags of leaderboard rows: what their cells raise, what a row raises itself, and what follows from its group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from bench.select.presets import unvalidated
from leaderboard.tables.costs import uneven_purification
from leaderboard.tables.envelope import add_envelope
from leaderboard.tables.flags import Flag, Raised, has
from leaderboard.tables.statistics import sample_std

_SEEDS_OF_A_RANK = 3
_CLEAN_LOSS = 0.10
_ROUNDING = 1e-9
_DEVIATION = 0.05
"""Published single runs of one cell lie 3.7 points apart on average, which is a deviation of 3.3 points."""


def row_flags(cells: pd.DataFrame, table: pd.DataFrame) -> tuple[Raised, ...]:
    """Flags that a row has by itself, then those of its finished cells with their attacks.

    Args:
        cells: of one defense, whatever their status.
        table: their accuracies, a line a seed and a column an attack; NaN where a cell is missing.
    """
    done = cells[cells["status"] == "done"]
    attacks = [str(attack) for attack in table.columns]
    varying = [a for a in attacks if (deviation := sample_std(table[a])) is not None and deviation > _DEVIATION]
    of_cells: dict[Flag, list[str]] = {Flag.VARIES: varying} if varying else {}
    for attack, flags in zip(done["attack_selection"], done["flags"], strict=True):
        for flag in flags:
            of_cells.setdefault(flag, []).append(attack)
    named = [_raised(flag, of_cells[flag], attacks) for flag in sorted(of_cells)]
    return (*map(Raised, _own(cells, done, table)), *named)


def _raised(flag: Flag, raising: Sequence[str], attacks: Iterable[str]) -> Raised:
    poisons = {attack for attack in attacks if attack != "none"}
    return Raised(flag, tuple(dict.fromkeys(raising)), len(poisons) > 1 and poisons <= set(raising))


def _own(cells: pd.DataFrame, done: pd.DataFrame, table: pd.DataFrame) -> Iterator[Flag]:
    """Flags of a row that no single cell raises."""
    exclusive, preset = done["exclusive"], cells["preset"]
    if table.isna().to_numpy().any():
        yield Flag.MISSING
    if (cells["status"] == "failed").any():
        yield Flag.FAILED
    if len(table) < _SEEDS_OF_A_RANK:
        yield Flag.PROVISIONAL
    if preset.isin(unvalidated()).any():
        yield Flag.UNVALIDATED
    uses = {use for of_cell in cells["uses"] for use in of_cell}
    if "test-set" in uses:
        yield Flag.TEST_DATA
    if uses & {"clean-originals", "paired-data"}:
        yield Flag.ORIGINALS
    if (~exclusive.fillna(True)).any():
        yield Flag.NOT_EXCLUSIVE
    if exclusive.isna().any():
        yield Flag.EXCLUSIVITY_UNKNOWN
    if len({device for devices in done["device"] for device in devices}) > 1:
        yield Flag.SEVERAL_DEVICES
    if uneven_purification(done):
        yield Flag.UNEVEN


def add_group_flags(rows: list[dict[str, Any]]) -> None:
    """Adds to the rows of a group, in place, the flags that come from comparing them; and the baseline envelope.

    Costs are compared on the one device of the undefended row; rows of other devices are flagged.

    Args:
        rows: of single defenses.
    """
    if len({row["device"] for row in rows if row["device"]}) > 1:
        own = next((row["device"] for row in rows if row["defense"] == "none"), ())
        for row in rows:
            if (len(own) != 1 or row["device"] != own) and not has(Flag.SEVERAL_DEVICES, row["flags"]):
                row["flags"] += (Raised(Flag.SEVERAL_DEVICES),)
    undefended = next((row["clean_accuracy"] for row in rows if row["defense"] == "none"), None)
    for row in rows:
        clean = row["clean_accuracy"]
        if undefended is not None and clean is not None and undefended - clean > _CLEAN_LOSS + _ROUNDING:
            row["flags"] += (Raised(Flag.CLEAN_LOST),)
    add_envelope(rows)
