"""What the page shows, as plain values: the template only places them. Text is escaped by the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboard import formats
from leaderboard.columns import AND, GROUP, accuracy_columns
from leaderboard.heatmap import Shade, shade
from leaderboard.scatter import figure
from leaderboard.table import current_cells

SECTION = GROUP[:-1]


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, what it sorts by ("" sorts last), and whether it is the best of its column."""

    text: str
    sort: str
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class BoardRow:
    """A defense on the board; `kind` is single, oracle, undefended or incomplete."""

    rank: str
    defense: str
    kind: str
    uses: list[str]
    flags: list[str]
    cells: list[Cell]


@dataclass(frozen=True)
class HeatRow:
    """A defense in the heat map: one text and shade an attack, clean training first."""

    defense: str
    cells: list[tuple[str, Shade | None]]


@dataclass(frozen=True)
class Group:
    """Everything about one victim on one data set and preset."""

    victim: str
    headings: list[tuple[str, str]]
    rows: list[BoardRow]
    attacks: list[str]
    heat: list[HeatRow]
    figure: dict[str, Any] | None
    undrawn: list[str]


@dataclass(frozen=True)
class Section:
    """One data set and preset: facts, victims, and what is missing."""

    dataset: str
    preset: str
    facts: list[tuple[str, str]]
    groups: list[Group]
    problems: list[dict[str, str]]
    absent: list[str]


_METRICS: list[tuple[str, str, Any, str]] = [
    ("mean_accuracy", "mean %", formats.percent, "clean test accuracy, mean over attacks; ± 95 % interval over seeds"),
    ("worst_accuracy", "worst %", formats.percent, "the attack against which it does worst"),
    ("clean_accuracy", "clean %", formats.percent, "accuracy after this defense on clean training data"),
    ("recovery", "recovery", formats.ratio, "0: as undefended, 1: as trained on clean data; mean over cells"),
    ("cost_seconds", "cost", formats.seconds, "purification + extra training + view of the test images"),
    ("cost_multiple", "× training", formats.multiple, "total in undefended trainings; 1.000× costs nothing extra"),
    ("cost_rank", "cost rank", str, "cheapest first; only exclusive measurements on one device"),
    ("peak_gpu_bytes", "peak GPU", formats.gibibytes, "largest GPU memory of purification and training"),
    ("peak_host_bytes", "peak host", formats.gibibytes, "largest resident memory of purification and training"),
    ("cost_energy_joules", "energy", formats.joules, "of the GPU: purification and extra training"),
    ("n", "n", str, "finished cells behind the mean: attacks × seeds"),
]
_LOWEST_IS_BEST = ("cost_seconds", "cost_multiple")
_HIGHEST_IS_BEST = ("mean_accuracy", "worst_accuracy", "clean_accuracy", "recovery")


def sections(frame: pd.DataFrame, board: pd.DataFrame) -> list[Section]:
    """The page's sections, in the order of the board."""
    current = current_cells(frame)
    return [
        _section(current[(current[SECTION] == list(key)).all(axis=1)], rows)
        for key, rows in board.groupby(SECTION, sort=False)
    ]


def _section(cells: pd.DataFrame, board: pd.DataFrame) -> Section:
    first = cells.iloc[0]
    budgets = cells.loc[cells["attack"] != "none"].groupby("attack_selection")["budget"].first()
    facts = [
        ("images", f"{first['train_images']:,} train, {first['test_images']:,} test"),
        ("attacks", ", ".join(f"{name} ({text})" if text else str(name) for name, text in budgets.fillna("").items())),
        ("seeds", ", ".join(str(seed) for seed in sorted(cells["seed"].unique()))),
        ("device", AND.join(sorted(cells["device"].dropna().unique())) or formats.DASH),
        ("data digest", str(first["dataset_digest"])[:16]),
    ]
    return Section(
        dataset=first["dataset_selection"],
        preset=first["preset"],
        facts=[(name, value) for name, value in facts if value],
        groups=[_group(rows) for _, rows in board.groupby("victim_selection", sort=False)],
        problems=_problems(cells),
        absent=_absent(cells),
    )


def _group(board: pd.DataFrame) -> Group:
    shown = [metric for metric in _METRICS if board[metric[0]].notna().any()]
    if any(metric[0] == "peak_gpu_bytes" for metric in shown):
        shown = [metric for metric in shown if metric[0] != "peak_host_bytes"]
    attacks = accuracy_columns(board)
    columns = {"clean": "clean_accuracy", **attacks} if board["clean_accuracy"].notna().any() else attacks
    undrawn = (board["defense"] != "none") & board["mean_accuracy"].notna() & board["cost_multiple"].isna()
    return Group(
        victim=board["victim_selection"].iloc[0],
        headings=[(heading, meaning) for _, heading, _, meaning in shown],
        rows=[_board_row(row, board, shown) for _, row in board.iterrows()],
        attacks=list(columns),
        heat=[
            HeatRow(
                row["defense_selection"],
                [
                    (formats.percent(row[name]), None if formats.is_missing(row[name]) else shade(row[name]))
                    for name in columns.values()
                ],
            )
            for _, row in board.iterrows()
        ],
        figure=figure(board),
        undrawn=list(board.loc[undrawn, "defense_selection"]),
    )


def _board_row(row: pd.Series[Any], board: pd.DataFrame, shown: list[tuple[str, str, Any, str]]) -> BoardRow:
    incomplete = formats.is_missing(row["mean_accuracy"])
    kind = "incomplete" if incomplete else "oracle" if "oracle" in row["flags"] else "single"
    flags = [flag if flag != "missing" else f"{row['missing']} missing" for flag in row["flags"].split(", ") if flag]
    ranked = board[board["rank"].notna()]
    return BoardRow(
        rank="" if formats.is_missing(row["rank"]) else str(row["rank"]),
        defense=row["defense_selection"],
        kind="undefended" if row["defense"] == "none" and not incomplete else kind,
        uses=[use for use in row["uses"].split(", ") if use],
        flags=flags,
        cells=[_cell(row, name, text, ranked[name]) for name, _, text, _ in shown],
    )


def _cell(row: pd.Series[Any], name: str, text: Any, ranked: pd.Series[Any]) -> Cell:
    value = row[name]
    if formats.is_missing(value):
        return Cell(formats.DASH, "")
    notes = {"mean_accuracy": f"± {formats.percent(row['half_width_95'])}", "worst_accuracy": row["worst_attack"]}
    without_interval = name == "mean_accuracy" and formats.is_missing(row["half_width_95"])
    target = ranked.max() if name in _HIGHEST_IS_BEST else ranked.min() if name in _LOWEST_IS_BEST else None
    best = not formats.is_missing(row["rank"]) and not formats.is_missing(target) and text(value) == text(target)
    return Cell(text(value), str(value), best, "" if without_interval else notes.get(name, ""))


def _problems(cells: pd.DataFrame) -> list[dict[str, str]]:
    """Failed and skipped cells with their message."""
    columns = ["status", "attack_selection", "defense_selection", "victim_selection", "seed", "error_stage"]
    bad = cells.loc[cells["status"] != "done", [*columns, "error_message", "key"]]
    return [
        {str(name): "" if formats.is_missing(value) else str(value) for name, value in row.items()}
        for row in bad.to_dict("records")
    ]


def _absent(cells: pd.DataFrame) -> list[str]:
    """Cells of the full matrix for which there is no result at all, counted by defense and victim."""
    lines = []
    for victim, group in cells.groupby("victim_selection", sort=True):
        expected = group["attack_selection"].nunique() * group["seed"].nunique()
        counts = group.groupby("defense_selection", sort=True).size()
        lines += [f"{name} on {victim}: {expected - n} of {expected}" for name, n in counts.items() if n < expected]
    return lines
