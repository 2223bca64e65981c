"""Addresses of cells by name: they stay valid if a cell is computed again and gets another key."""

from __future__ import annotations

import json

import pandas as pd

from leaderboard.tables.datasets import data_names
from leaderboard.tables.table import current_cells

NAMES = {
    "dataset": "dataset",
    "preset": "preset",
    "victim": "victim_selection",
    "precision": "precision",
    "attack": "attack_selection",
    "defense": "defense_selection",
    "seed": "seed",
    "selection": "dataset_selection",
}
"""Parts of an address, `cell.html#dataset=cifar10&attack=lsp&...`, and their columns.

The last is no part: an address may name the data set as it was selected too.
"""


def names_file(frame: pd.DataFrame) -> bytes:
    """The script file that maps names to keys, loaded by `cell.html` for such an address alone.

    Args:
        frame: from `cells_frame`; of several attempts at a cell the one on the board has the name.
    """
    current = current_cells(frame.assign(dataset=data_names(frame))).sort_values("key")
    texts: dict[str, int] = {}
    columns = [current[column].astype("string").fillna("") for column in NAMES.values()]
    cells = [
        [key, *(texts.setdefault(text, len(texts)) for text in names)]
        for key, *names in zip(current["key"], *columns, strict=True)
    ]
    content = json.dumps({"names": list(NAMES), "texts": list(texts), "cells": cells}, separators=(",", ":"))
    return f"addNames({content.replace('<', chr(92) + 'u003c')});\n".encode()
