"""What the page shows, as plain values: the template only places them. Text is escaped by the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboard import formats
from leaderboard.answers import Answer, answers
from leaderboard.columns import AND, GROUP, accuracy_columns
from leaderboard.heatmap import Shade, shade
from leaderboard.matrix import Entry, entries
from leaderboard.published import DIFFERS, NOT_COMPARABLE, REPRODUCED, Comparison
from leaderboard.scatter import figures
from leaderboard.table import current_cells


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, what it sorts by ("" sorts last), and whether it is the best of its column.

    `attack` is the number of the attack it belongs to, or None; `link` leads to the cell behind it, or is "".
    """

    text: str
    sort: str
    best: bool = False
    note: str = ""
    attack: int | None = None
    link: str = ""


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
    flags: list[str]
    cells: list[Cell]


@dataclass(frozen=True)
class HeatCell:
    """One defense against one attack: percent, half-width, color, first cell, published range and its verdict."""

    attack: int
    text: str
    interval: str
    shade: Shade | None
    key: str
    published: str
    verdict: str
    note: str


@dataclass(frozen=True)
class HeatRow:
    """A defense in the heat map."""

    defense: str
    cells: list[HeatCell]


@dataclass(frozen=True)
class Group:
    """Everything about one victim on one data set and preset."""

    number: int
    data: str
    preset: str
    victim: str
    facts: list[tuple[str, str]]
    answers: list[Answer]
    attacks: list[int]
    heat: list[HeatRow]
    has_published: bool
    figures: dict[str, dict[str, Any]]
    undrawn: list[str]


@dataclass(frozen=True)
class Heading:
    """A column of the board; `attack` is the number of its attack, or None."""

    text: str
    meaning: str
    attack: int | None = None


@dataclass(frozen=True)
class Page:
    """The whole board: attacks by number, groups, headings, rows, and what is missing."""

    attacks: list[str]
    groups: list[Group]
    headings: list[Heading]
    rows: list[BoardRow]
    problems: list[dict[str, str]]
    absent: list[str]


_METRICS: list[tuple[str, str, Any, str]] = [
    ("mean_accuracy", "mean %", formats.percent, "clean test accuracy, mean over attacks; ± 95 % interval over seeds"),
    ("cost_seconds", "cost", formats.seconds, "purification + extra training + view of the test images"),
    ("cost_multiple", "× training", formats.multiple, "total in undefended trainings; 1.000× costs nothing extra"),
    ("worst_accuracy", "worst %", formats.percent, "the attack against which it does worst"),
    ("clean_accuracy", "clean %", formats.percent, "accuracy after this defense on clean training data: its price"),
    ("recovery", "recovery", formats.ratio, "0: as undefended, 1: as trained on clean data"),
    ("cost_rank", "cost rank", str, "cheapest first; only exclusive measurements on one device"),
    ("purify_seconds", "purify", formats.seconds, "wall time of the purification"),
    ("extra_train_seconds", "extra train", formats.seconds, "training with minus training without the defense"),
    ("peak_gpu_bytes", "peak GPU", formats.gibibytes, "largest GPU memory of purification and training"),
    ("peak_host_bytes", "peak host", formats.gibibytes, "largest resident memory of purification and training"),
    ("cost_energy_joules", "energy", formats.joules, "of the GPU: purification and extra training"),
    ("n", "n", str, "finished cells behind the mean: attacks × seeds"),
]
_LOWEST_IS_BEST = ("cost_seconds", "cost_multiple")
_HIGHEST_IS_BEST = ("mean_accuracy", "worst_accuracy", "clean_accuracy", "recovery")
_MARKS = {REPRODUCED: "✓", DIFFERS: "≠", NOT_COMPARABLE: "○"}


def page_view(frame: pd.DataFrame, board: pd.DataFrame) -> Page:
    """Everything on the page, in the order of the board."""
    current = current_cells(frame)
    board = board.reset_index(drop=True)
    matrix = entries(current, board)
    numbers = {name: number for number, name in enumerate(["none", *accuracy_columns(board)])}
    metrics = [metric for metric in _METRICS if board[metric[0]].notna().any()]
    if any(metric[0] == "peak_gpu_bytes" for metric in metrics):
        metrics = [metric for metric in metrics if metric[0] != "peak_host_bytes"]
    labels = _data_labels(board)
    groups, rows = [], []
    for number, (_, part) in enumerate(board.groupby(GROUP, sort=False)):
        own = [matrix[index] for index in part.index]
        cells = current[(current[GROUP] == list(part[GROUP].iloc[0])).all(axis=1)]
        groups.append(_group(number, part, cells, own, labels, numbers))
        rows += [
            _board_row(int(str(index)), number, row, part, metrics, of_row, numbers)
            for (index, row), of_row in zip(part.iterrows(), own, strict=True)
        ]
    headings = [Heading(heading, meaning) for _, heading, _, meaning in metrics]
    headings += [Heading(name, f"accuracy in % against {name}", n) for name, n in numbers.items() if n]
    return Page(list(numbers), groups, headings, rows, _problems(current), _absent(current))


def _data_labels(board: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Selection and digest to a name; the digest is shown where two data sets share a selection."""
    pairs = list(dict.fromkeys(zip(board["dataset_selection"], board["dataset_digest"], strict=True)))
    shared = {name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1}
    return {(name, digest): f"{name} ({digest[:12]})" if name in shared else name for name, digest in pairs}


def _group(
    number: int,
    board: pd.DataFrame,
    cells: pd.DataFrame,
    matrix: Sequence[dict[str, Entry]],
    labels: dict[tuple[str, str], str],
    numbers: dict[str, int],
) -> Group:
    first = board.iloc[0]
    present = [name for name in numbers if any(name in row and row[name].accuracy is not None for row in matrix)]
    undrawn = (board["defense"] != "none") & board["mean_accuracy"].notna() & board["cost_multiple"].isna()
    heat = [
        HeatRow(name, [_heat_cell(numbers[a], row[a]) for a in present if a in row])
        for name, row in zip(board["defense_selection"], matrix, strict=True)
    ]
    return Group(
        number=number,
        data=labels[first["dataset_selection"], first["dataset_digest"]],
        preset=first["preset"],
        victim=first["victim_selection"],
        facts=_facts(cells),
        answers=answers(board),
        attacks=[numbers[name] for name in present],
        heat=heat,
        has_published=any(cell.published for row in heat for cell in row.cells),
        figures=figures(board),
        undrawn=list(board.loc[undrawn, "defense_selection"]),
    )


def _facts(cells: pd.DataFrame) -> list[tuple[str, str]]:
    first = cells.iloc[0]
    budgets = cells.loc[cells["attack"] != "none"].groupby("attack_selection")["budget"].first()
    facts = [
        ("images", f"{first['train_images']:,} train, {first['test_images']:,} test"),
        ("attacks", ", ".join(f"{name} ({text})" if text else str(name) for name, text in budgets.fillna("").items())),
        ("seeds", ", ".join(str(seed) for seed in sorted(cells["seed"].unique()))),
        ("device", AND.join(sorted(cells["device"].dropna().unique())) or formats.DASH),
        ("data digest", str(first["dataset_digest"])[:16]),
    ]
    return [(name, value) for name, value in facts if value]


def _heat_cell(attack: int, entry: Entry) -> HeatCell:
    values = [found.published.accuracy for found in entry.published]
    published = "" if not values else formats.percent(min(values))
    if values and formats.percent(max(values)) != published:
        published += f"–{formats.percent(max(values))}"
    return HeatCell(
        attack=attack,
        text=formats.percent(entry.accuracy),
        interval="" if entry.half_width_95 is None else f"± {formats.percent(entry.half_width_95)}",
        shade=None if entry.accuracy is None else shade(entry.accuracy),
        key=entry.keys[min(entry.keys)] if entry.keys else "",
        published=published,
        verdict=_MARKS[overall(entry.published)] if values else "",
        note="; ".join(_described(found) for found in entry.published),
    )


def overall(found: Sequence[Comparison]) -> str:
    """One verdict for several sources: reproduced if one agrees, for sources differ among themselves."""
    verdicts = {comparison.verdict for comparison in found}
    return next((verdict for verdict in (REPRODUCED, DIFFERS) if verdict in verdicts), NOT_COMPARABLE)


def _described(found: Comparison) -> str:
    return f"{found.published.source} {formats.percent(found.published.accuracy)}: {found.verdict} ({found.reason})"


def _board_row(
    number: int,
    group: int,
    row: pd.Series[Any],
    board: pd.DataFrame,
    shown: list[tuple[str, str, Any, str]],
    matrix: dict[str, Entry],
    numbers: dict[str, int],
) -> BoardRow:
    incomplete = formats.is_missing(row["mean_accuracy"])
    kind = "incomplete" if incomplete else "oracle" if "oracle" in row["flags"] else "single"
    flags = [flag if flag != "missing" else f"{row['missing']} missing" for flag in row["flags"].split(", ") if flag]
    ranked = board[board["rank"].notna()]
    rank = "" if formats.is_missing(row["rank"]) else str(row["rank"])
    tied = rank and (ranked["rank"] == row["rank"]).sum() > 1
    return BoardRow(
        number=number,
        group=group,
        rank=rank,
        place=f"={rank}" if tied else rank,
        defense=row["defense_selection"],
        kind="undefended" if row["defense"] == "none" and not incomplete else kind,
        uses=[use for use in row["uses"].split(", ") if use],
        flags=flags,
        cells=[
            *(_cell(row, name, text, ranked[name]) for name, _, text, _ in shown),
            *(_attack_cell(n, matrix.get(name)) for name, n in numbers.items() if n),
        ],
    )


def _cell(row: pd.Series[Any], name: str, text: Any, ranked: pd.Series[Any]) -> Cell:
    value = row[name]
    if formats.is_missing(value):
        return Cell(formats.DASH, "")
    notes = {"mean_accuracy": f"± {formats.percent(row['half_width_95'])}", "worst_accuracy": row["worst_attack"]}
    without_interval = name == "mean_accuracy" and formats.is_missing(row["half_width_95"])
    target = ranked.max() if name in _HIGHEST_IS_BEST else ranked.min() if name in _LOWEST_IS_BEST else None
    best = not formats.is_missing(row["rank"]) and not formats.is_missing(target) and text(value) == text(target)
    if name == "mean_accuracy":
        best = not formats.is_missing(row["rank"]) and row["rank"] == 1
    return Cell(text(value), str(value), best, "" if without_interval else notes.get(name, ""))


def _attack_cell(attack: int, entry: Entry | None) -> Cell:
    if entry is None or entry.accuracy is None:
        return Cell(formats.DASH, "", attack=attack)
    note = "" if entry.half_width_95 is None else f"± {formats.percent(entry.half_width_95)}"
    link = entry.keys[min(entry.keys)] if entry.keys else ""
    return Cell(formats.percent(entry.accuracy), str(entry.accuracy), note=note, attack=attack, link=link)


def _problems(cells: pd.DataFrame) -> list[dict[str, str]]:
    """Failed and skipped cells with their message."""
    columns = ["status", "attack_selection", "defense_selection", "victim_selection", "seed", "error_stage"]
    bad = cells.loc[cells["status"] != "done", [*columns, "dataset_selection", "preset", "error_message", "key"]]
    return [
        {str(name): "" if formats.is_missing(value) else str(value) for name, value in row.items()}
        for row in bad.to_dict("records")
    ]


def _absent(cells: pd.DataFrame) -> list[str]:
    """Cells of the full matrix for which there is no result at all, counted by defense and group."""
    lines = []
    for (name, *_, preset, victim), group in cells.groupby(["dataset_selection", *GROUP[2:]], sort=True):
        expected = group["attack_selection"].nunique() * group["seed"].nunique()
        counts = group.groupby("defense_selection", sort=True).size()
        where = f"{victim}, {name}" + (f", {preset}" if preset else "")
        lines += [
            f"{defense} on {where}: {expected - n} of {expected}" for defense, n in counts.items() if n < expected
        ]
    return lines
