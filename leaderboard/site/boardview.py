"""The rows of the board: every metric with its unit, its sort value, and whether it is the best of its column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.published.matrix import Entry
from leaderboard.tables.columns import AND, accuracy_column
from leaderboard.tables.flags import Flag, has, shown_flags
from leaderboard.tables.groups import is_best, place


@dataclass(frozen=True)
class Metric:
    """A column of the board.

    Attributes:
        name: of the column of the leaderboard.
        heading: on the page.
        text: how a value is written.
        meaning: in words.
        usual: shown until the reader chooses columns.
        high_first: a first click sorts by falling value; the others are best where they are low.
    """

    name: str
    heading: str
    text: Callable[[Any], str]
    meaning: str
    usual: bool = False
    high_first: bool = False


METRICS = [
    Metric(
        "mean_accuracy",
        "mean %",
        formats.percent,
        "clean test accuracy, mean over attacks; below: half the 95 % interval over seeds, in points",
        usual=True,
        high_first=True,
    ),
    Metric("worst_accuracy", "worst %", formats.percent, "the attack against which it does worst", True, True),
    Metric(
        "clean_accuracy",
        "clean %",
        formats.percent,
        "accuracy after this defense on clean training data: its price",
        usual=True,
        high_first=True,
    ),
    Metric(
        "cost_seconds",
        "cost",
        formats.seconds,
        "purification + extra training + view, median; below: least and most that the measurements allow",
        usual=True,
    ),
    Metric(
        "cost_multiple",
        "× training",
        formats.multiple,
        "total in undefended trainings; 1.000× costs nothing extra, less: a shorter training",
        usual=True,
    ),
    Metric("recovery", "recovery", formats.ratio, "0: as undefended, 1: as trained on clean data", high_first=True),
    Metric("half_width_95", "± 95 %", formats.percent, "of the mean, in points: half the 95 % interval over seeds"),
    Metric(
        "cost_rank",
        "cost rank",
        str,
        "cheapest first, ties within the range; only exclusive measurements on one device",
    ),
    Metric("purify_seconds", "purify", formats.seconds, "wall time of the purification"),
    Metric("extra_train_seconds", "extra train", formats.seconds, "training with minus training without the defense"),
    Metric(
        "warm_seconds",
        "rehearsal",
        formats.seconds,
        "first steps on random images (loading, allocating, compiling), before the clock starts: not charged",
    ),
    Metric("peak_gpu_bytes", "peak GPU", formats.size, "largest GPU memory of purification and training"),
    Metric("peak_host_bytes", "peak host", formats.size, "most host memory that purification or training took"),
    Metric("cost_energy_joules", "energy", formats.joules, "of the GPU: purification and extra training"),
    Metric("n", "n", str, "finished cells behind the mean: attacks × seeds", high_first=True),
    Metric("seeds", "seeds", str, "seeds of the group", high_first=True),
    Metric("device", "device", AND.join, "device of purification and training"),
    Metric("uses", "uses", ", ".join, "knowledge of the defense beyond the poisoned set"),
    Metric(
        "flags",
        "flags",
        lambda flags: ", ".join(map(str, flags)),
        "what makes the row doubtful; each flag is explained under How to read this",
    ),
]
"""The columns with one value per row; behind them come the attacks."""


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, what it sorts by ("" sorts last), and whether it is the best of its column.

    `column` is the class of its column; `link` leads to the cell behind it, or is ""; `bar` is the length of a bar
    behind the number in percent, or "".
    """

    text: str
    sort: str
    best: bool = False
    note: str = ""
    column: str = ""
    link: str = ""
    bar: str = ""


@dataclass(frozen=True)
class BoardRow:
    """A defense on the board; `kind` is single, oracle, undefended or incomplete."""

    number: int
    group: int
    rank: str
    place: str
    defense: str
    kind: str
    uses: list[str]
    flags: dict[str, Flag]
    cells: list[Cell]


def board_row(
    number: int,
    group: int,
    row: pd.Series[Any],
    board: pd.DataFrame,
    shown: list[Metric],
    matrix: dict[str, Entry],
    numbers: dict[str, int],
) -> BoardRow:
    """A row with everything it shows.

    Args:
        number: of the row on the page.
        group: number of its group.
        row: of the leaderboard.
        board: the rows of its group.
        shown: metrics that have a column.
        matrix: the row's entries by attack.
        numbers: attack to number.
    """
    incomplete = formats.is_missing(row["mean_accuracy"])
    kind = "incomplete" if incomplete else "oracle" if has(Flag.ORACLE, row["flags"]) else "single"
    return BoardRow(
        number=number,
        group=group,
        rank="" if formats.is_missing(row["rank"]) else str(row["rank"]),
        place=place(row, board),
        defense=row["defense_selection"],
        kind="undefended" if row["defense"] == "none" and not incomplete else kind,
        uses=list(row["uses"]),
        flags=shown_flags(row),
        cells=[
            *(_cell(row, metric, number, board) for number, metric in enumerate(shown)),
            *(_attack_cell(row, name, n, board, matrix.get(name)) for name, n in numbers.items() if n),
        ],
    )


def _cell(row: pd.Series[Any], metric: Metric, number: int, board: pd.DataFrame) -> Cell:
    value, column = row[metric.name], f"m{number}"
    if value == () or formats.is_missing(value):
        return Cell(formats.DASH, "", column=column)
    notes = {"worst_accuracy": row["worst_attack"]}
    if not formats.is_missing(row["half_width_95"]):
        notes["mean_accuracy"] = f"± {formats.percent(row['half_width_95'])}"
    within = formats.span(row["cost_seconds_min"], row["cost_seconds_max"])
    device = AND.join(row["device"]) if has(Flag.SEVERAL_DEVICES, row["flags"]) else ""
    notes["cost_seconds"] = ", ".join(filter(None, (within, device)))
    text = metric.text(value)
    bar = text if metric.name == "mean_accuracy" else ""
    best = is_best(row, metric.name, metric.text, board)
    sort = text if isinstance(value, tuple) else str(value)
    return Cell(text, sort, best, notes.get(metric.name, ""), column, bar=bar)


def _attack_cell(row: pd.Series[Any], name: str, attack: int, board: pd.DataFrame, entry: Entry | None) -> Cell:
    if entry is None or entry.accuracy is None:
        return Cell(formats.DASH, "", column=f"at at{attack}")
    best = is_best(row, accuracy_column(name), formats.percent, board)
    note = "" if entry.half_width_95 is None else f"± {formats.percent(entry.half_width_95)}"
    link = entry.keys[min(entry.keys)] if entry.keys else ""
    return Cell(formats.percent(entry.accuracy), str(entry.accuracy), best, note, f"at at{attack}", link)
