"""Names of data sets for readers."""

from __future__ import annotations

from collections import Counter

import pandas as pd


def data_names(frame: pd.DataFrame) -> pd.Series[str]:
    """Name of the data set of each row as readers see it.

    Where two sets of the frame share their name it is the selection, with the beginning of the digest where they share
    that too.

    Args:
        frame: cells, rows of the leaderboard, or points of curves.
    """
    rows = list(zip(frame["dataset"], frame["dataset_selection"], frame["dataset_digest"], strict=True))
    sets = set(rows)
    names, selections = Counter(name for name, _, _ in sets), Counter(selection for _, selection, _ in sets)
    words = {
        (name, selection, digest): name
        if names[name] == 1
        else selection
        if selections[selection] == 1
        else f"{selection} ({digest[:12]})"
        for name, selection, digest in sets
    }
    return pd.Series([words[row] for row in rows], frame.index, "string")
