"""The baseline envelope: the best of gray and JPEG at five qualities, with one setting for all attacks.

Reviewers ask that a defense beats these cheap filters. The setting is chosen by its mean over the attacks that count,
with test labels, so the envelope is a little too good: it has the best of up to six tries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.tables.flags import Flag, Raised
from leaderboard.tables.ranking import separable

_QUALITIES = (10, 30, 50, 70, 90)
_LEAST = 2
SETTINGS = f"gray and JPEG at {', '.join(map(str, _QUALITIES[:-1]))} and {_QUALITIES[-1]}"


def add_envelope(rows: Sequence[dict[str, Any]]) -> None:
    """Adds the three columns `envelope_*` to every row of a group, and the flag to the complete rows below it.

    A row is below if it is so in every seed, by at least the interval that the test images leave: both have the same
    seeds, attacks and images, so a further seed can only clear a row. (An interval over two seeds is 12.7 deviations
    wide, and would clear nearly all.) The settings of the envelope themselves are never flagged.

    Args:
        rows: of single defenses, with `defense_parameters` (JSON) and `per_seed` besides the columns of the board.
    """
    complete = [row for row in rows if row["mean_accuracy"] is not None]
    settings: dict[str, dict[str, Any]] = {}
    for row in sorted(complete, key=lambda row: str(row["defense_selection"])):
        settings.setdefault(_setting(row), row)
    settings.pop("", None)
    found: dict[str, Any] = {"envelope_accuracy": None, "envelope_defense": None, "envelope_settings": len(settings)}
    if len(settings) >= _LEAST:
        best = max(settings.values(), key=lambda row: float(row["mean_accuracy"]))
        found |= {"envelope_accuracy": best["mean_accuracy"], "envelope_defense": best["defense_selection"]}
        for row in complete:
            if _below(row, best) and row["defense"] != "none" and not _setting(row):
                row["flags"] += (Raised(Flag.BELOW_ENVELOPE),)
    for row in rows:
        row.update(found)


def _setting(row: Mapping[str, Any]) -> str:
    """The one of the six settings that a row is: `gray`, `JPEG-10`; "" if it is none, or has a view of test images."""
    parameters = json.loads(row["defense_parameters"])
    quality = parameters.pop("quality", None)
    if any(parameters.values()):
        return ""
    if row["defense"] in ("iss-jpeg", "jpeg") and quality in _QUALITIES:
        return f"JPEG-{quality}"
    return "gray" if row["defense"] == "iss-gray" else ""


def _below(row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    pairs = zip(row["per_seed"], best["per_seed"], strict=True)
    return all(own[0] < least[0] and separable(own, least) for own, least in pairs)


def envelope_note(group: pd.DataFrame) -> str:
    """A sentence about the envelope of a group of the board, for readers; "" if there is none."""
    first = group.iloc[0]
    if formats.is_missing(first["envelope_accuracy"]):
        return ""
    return (
        f"Baseline envelope: {formats.isolated(first['envelope_defense'])} with "
        f"{formats.percent(first['envelope_accuracy'])} % mean accuracy, the best of the "
        f"{first['envelope_settings']} that are present of six settings ({SETTINGS}). It is one setting for all "
        "attacks, chosen with test labels."
    )
