"""Cells behind the board's means, ranks and counts: one setting of a swept attack, and no poison that did not take.

Attacks that were crafted with knowledge of a defense do not count either: `leaderboard.tables.adaptive`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from leaderboard.tables.adaptive import is_adaptive
from leaderboard.tables.columns import GROUP
from leaderboard.tables.curves import figures_of, without_parameter
from leaderboard.tables.flags import Flag

_ATTACK = [*GROUP, "attack_selection"]


def with_counted(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds the column `counted`: False for adaptive attacks, points of a curve, and poisons that did not take.

    Of the settings that make a curve over an attack's parameter (three values of one numeric parameter, all else equal,
    whatever their status) the one with the default of the preset counts; without it, the one with the largest value.

    An attack whose poison did not take counts where no other attack of its group does. One whose effect is not known
    counts.

    Args:
        frame: with the flags of `with_effect_flags`.
    """
    candidates = ~is_adaptive(frame["attack"]) & ~_swept(frame)
    flagged = pd.Series([Flag.NOT_TAKEN in flags for flags in frame["flags"]], frame.index, bool)
    weak = flagged.groupby([frame[name] for name in _ATTACK]).transform("any")
    others = (candidates & ~weak & (frame["attack"] != "none")).groupby([frame[name] for name in GROUP])
    return frame.assign(counted=(candidates & ~(weak & others.transform("any"))).astype("boolean"))


def left_out(frame: pd.DataFrame) -> pd.Series[bool]:
    """True for cells that do not count for one reason alone: the poison did not take.

    Args:
        frame: whole groups, with `counted`.
    """
    return ~frame["counted"].astype(bool) & ~is_adaptive(frame["attack"]) & ~_swept(frame)


def _swept(frame: pd.DataFrame) -> pd.Series[bool]:
    points = {
        (*place, selection)
        for place, group in frame.groupby(GROUP, sort=False)
        for parameter, selections in figures_of(group, "attack")
        for selection in set(selections.values()) - {_counted(parameter, selections)}
    }
    found = pd.MultiIndex.from_frame(frame[_ATTACK]).isin(list(points)) if points else False
    return pd.Series(found, frame.index, bool)


def _counted(parameter: str, selections: Mapping[float, str]) -> str:
    """The setting whose text does not name the parameter, so that it has the default; else the largest value's."""
    texts = selections.values()
    default = (text for text in texts if without_parameter(text, parameter) == text)
    return next(default, selections[max(selections)])
