"""The rows of the board: every metric with its unit, its sort value, and whether it is the best of its column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.published.pairs import Pair
from leaderboard.site.comparison_table import MARKS
from leaderboard.site.sparkline import Sparkline
from leaderboard.tables.columns import AND, BOARD_COLUMNS
from leaderboard.tables.flags import Flag, has, shown_flags
from leaderboard.tables.groups import is_best, place
from leaderboard.tables.shown import Shown, of_attack
from leaderboard.tables.targets import TARGETS


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, what it sorts by (as in the files; "" sorts last), and whether it is best in its column.

    `column` is the class of its column; `link` leads to the cell behind it, or is ""; `bar` is the length of a bar
    behind the number in percent, or ""; `half_width` is that of its 95 % interval, a fraction as in the files, or "";
    `least` and `most` are the measured range of a cost, in seconds as in the files, or "";
    `published` is the best value that a source prints for it, with the mark of its verdict, and `source` says which.
    """

    text: str
    sort: str
    best: bool = False
    note: str = ""
    column: str = ""
    link: str = ""
    bar: str = ""
    half_width: str = ""
    least: str = ""
    most: str = ""
    published: str = ""
    source: str = ""


@dataclass(frozen=True)
class Paper:
    """Origin of a defense: its source (arXiv id, venue), authors and title, and its description.

    A search looks through all of it.
    """

    source: str = ""
    title: str = ""
    description: str = ""


@dataclass(frozen=True)
class BoardRow:
    """A defense on the board; `kind` is single, oracle, undefended or incomplete; `curve` that of its training.

    `name` is the registered one, whose card has the anchor `defense-NAME`.
    """

    number: int
    group: int
    rank: str
    place: str
    defense: str
    name: str
    paper: Paper
    kind: str
    uses: list[str]
    flags: dict[str, Flag]
    cells: list[Cell]
    curve: Sparkline | None


def board_row(
    number: int,
    group: int,
    row: pd.Series[Any],
    board: pd.DataFrame,
    shown: list[Shown],
    pairs: dict[str, Pair],
    numbers: dict[str, int],
    curve: Sparkline | None,
    paper: Paper,
) -> BoardRow:
    """A row with everything it shows.

    Args:
        number: of the row on the page.
        group: number of its group.
        row: of the leaderboard.
        board: the rows of its group.
        shown: columns with one value per row.
        pairs: by attack.
        numbers: attack to number.
        curve: of the training, if there is one.
        paper: of the defense.
    """
    return BoardRow(
        number=number,
        group=group,
        rank="" if formats.is_missing(row["rank"]) else str(row["rank"]),
        place=place(row, board),
        defense=row["defense_selection"],
        name=row["defense"],
        paper=paper,
        kind=_kind(row),
        uses=list(row["uses"]),
        flags=shown_flags(row),
        cells=[
            *(_cell(row, column, number, board, pairs.get("none")) for number, column in enumerate(shown)),
            *(_attack_cell(row, name, n, board, pairs.get(name)) for name, n in numbers.items() if n),
        ],
        curve=curve,
    )


def _kind(row: pd.Series[Any]) -> str:
    if formats.is_missing(row["mean_accuracy"]):
        return "incomplete"
    if row["defense"] == "none":
        return "undefended"
    return "oracle" if has(Flag.ORACLE, row["flags"]) else "single"


def _cell(row: pd.Series[Any], shown: Shown, number: int, board: pd.DataFrame, clean: Pair | None) -> Cell:
    value, column = row[shown.name], f"m{number}"
    if value == () or formats.is_missing(value):
        return Cell(formats.DASH, "", column=column)
    notes = {"worst_accuracy": row["worst_attack"], "best_known_accuracy": row["best_known_attack"]}
    notes |= {f"attacks_at_{target}": f"of {row['attacks_that_took']}" for target in TARGETS}
    if not formats.is_missing(row["half_width_95"]):
        notes["mean_accuracy"] = f"± {formats.percent(row['half_width_95'])}"
    within = formats.span(row["cost_seconds_min"], row["cost_seconds_max"])
    device = AND.join(row["device"]) if has(Flag.SEVERAL_DEVICES, row["flags"]) else ""
    notes["cost_seconds"] = ", ".join(filter(None, (within, device)))
    text = shown.text(value)
    sort = BOARD_COLUMNS[shown.name].separator.join(map(str, value)) if isinstance(value, tuple) else str(value)
    bar = text if shown.name == "mean_accuracy" else ""
    widths = {"mean_accuracy": row["half_width_95"], "clean_accuracy": clean.half_width_95 if clean else None}
    return Cell(
        text,
        sort,
        is_best(row, shown, board),
        notes.get(shown.name, ""),
        column,
        bar=bar,
        half_width=_number(widths.get(shown.name)),
        least=_number(row["cost_seconds_min"]) if shown.name == "cost_seconds" else "",
        most=_number(row["cost_seconds_max"]) if shown.name == "cost_seconds" else "",
        **_best_known(clean if shown.name == "clean_accuracy" else None),
    )


def _best_known(pair: Pair | None) -> dict[str, str]:
    found = pair.best_known if pair else None
    if found is None:
        return {}
    value, mark = found.published, MARKS[found.verdict]
    source = f"{value.source} ({value.year}): {found.verdict}; {found.reason}"
    return {"published": f"{formats.percent(value.accuracy)} {mark}", "source": source}


def _number(value: Any) -> str:
    return "" if formats.is_missing(value) else str(value)


def _attack_cell(row: pd.Series[Any], name: str, attack: int, board: pd.DataFrame, pair: Pair | None) -> Cell:
    if pair is None or pair.accuracy is None:
        return Cell(formats.DASH, "", column=f"at at{attack}", **_best_known(pair))
    best = is_best(row, of_attack(name), board)
    notes = [] if pair.half_width_95 is None else [f"± {formats.percent(pair.half_width_95)}"]
    uncounted = name in row["not_counted"]
    link = pair.keys[min(pair.keys)] if pair.keys else ""
    return Cell(
        formats.percent(pair.accuracy),
        str(pair.accuracy),
        best,
        ", ".join([*notes, *["not counted"] * uncounted]),
        f"at at{attack}{' uncounted' * uncounted}",
        link,
        half_width=_number(pair.half_width_95),
        **_best_known(pair),
    )
