"""Cells behind the board's means, ranks and counts: of an attack whose parameter was swept one setting alone.

Attacks that were crafted with knowledge of a defense do not count either: `leaderboard.tables.adaptive`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from leaderboard.tables.adaptive import is_adaptive
from leaderboard.tables.columns import GROUP
from leaderboard.tables.curves import figures_of, without_parameter


def with_counted(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds the column `counted`: False for adaptive attacks and for points of a curve over an attack's parameter.

    Of the settings that make a curve (three values of one numeric parameter, all else equal, whatever their status) the
    one with the default of the preset counts; without it, the one with the largest value.
    """
    on = [*GROUP, "attack_selection"]
    points = {
        (*place, selection)
        for place, group in frame.groupby(GROUP, sort=False)
        for parameter, selections in figures_of(group, "attack")
        for selection in set(selections.values()) - {_counted(parameter, selections)}
    }
    swept = pd.MultiIndex.from_frame(frame[on]).isin(list(points)) if points else False
    return frame.assign(counted=(~is_adaptive(frame["attack"]) & ~pd.Series(swept, frame.index)).astype("boolean"))


def _counted(parameter: str, selections: Mapping[float, str]) -> str:
    """The setting whose text does not name the parameter, so that it has the default; else the largest value's."""
    texts = selections.values()
    default = (text for text in texts if without_parameter(text, parameter) == text)
    return next(default, selections[max(selections)])
