"""Effect of a poison: an attack that leaves the undefended victim as it is says nothing about defenses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from leaderboard.tables.columns import GROUP
from leaderboard.tables.flags import Flag

_SHARE = 0.1
"""Of what clean training has above chance: 8.4 points of CIFAR-10's 94 %. Published single runs of one and the same
cell repeat to within 8.2 points, and a recovery divides by this gap: an error of one point becomes one of 0.12."""


def with_effect_flags(frame: pd.DataFrame, num_classes: Mapping[str, int]) -> pd.DataFrame:
    """Flags the finished cells of every attack whose poison did not take, for its data set, preset and victim.

    It took if the clean baseline is above the undefended accuracy, both means over the seeds that have both, by at
    least a tenth of what the clean baseline has above chance, and by the 95 % interval that the test images leave
    around a difference of two accuracies. Without one of the two baselines nothing can be said.

    Args:
        frame: the cells with their baselines.
        num_classes: of the data set, by key of the cell.
    """
    undefended = frame[(frame["status"] == "done") & (frame["defense"] == "none") & (frame["attack"] != "none")]
    both = undefended.dropna(subset=["undefended_accuracy", "clean_baseline_accuracy"])
    on = [*GROUP, "attack_selection"]
    weak = [
        names for names, cells in both.groupby(on, sort=False) if not _took(cells, num_classes[cells["key"].iloc[0]])
    ]
    flagged = pd.MultiIndex.from_frame(frame[on]).isin(weak) & (frame["status"] == "done")
    flags = [(*own, Flag.NOT_TAKEN) if doubt else own for own, doubt in zip(frame["flags"], flagged, strict=True)]
    return frame.assign(flags=flags)


def _took(cells: pd.DataFrame, num_classes: int) -> bool:
    undefended, clean = cells["undefended_accuracy"].mean(), cells["clean_baseline_accuracy"].mean()
    images = int(cells["test_images"].sum())
    doubt = 1.96 * math.sqrt((undefended * (1 - undefended) + clean * (1 - clean)) / images)
    return bool(clean - undefended >= max(_SHARE * (clean - 1 / num_classes), doubt))
