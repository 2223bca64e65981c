"""Content of the page, as plain values: the template only places them. Text is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench import formats
from bench.store.results import NO_BOUND
from leaderboard.published.comparison import comparison_frame
from leaderboard.published.pairs import Pair, pairs_of, published_of
from leaderboard.site.board_rows import BoardRow, Paper, board_row
from leaderboard.site.comparison_table import ComparisonView, comparison_view
from leaderboard.site.curves import CurveFigure, curve_figures
from leaderboard.site.headline import Answer, headline
from leaderboard.site.heatmap import HeatRow, heat_cell
from leaderboard.site.scatter import figures, on_several_devices
from leaderboard.site.sparkline import Sparkline, row_names
from leaderboard.tables.adaptive import is_adaptive, names_adaptive
from leaderboard.tables.columns import AND, GROUP, accuracy_columns, as_text, half_width_column
from leaderboard.tables.curves import curves_frame
from leaderboard.tables.datasets import data_names
from leaderboard.tables.envelope import envelope_note
from leaderboard.tables.flags import Flag, shared_flags
from leaderboard.tables.groups import not_counted_note
from leaderboard.tables.shown import Shown, View, of_attack, shown_in
from leaderboard.tables.table import Frames, current_cells

_NARROW = ("mean_accuracy", "cost_seconds")
"""Columns that a phone has room for beside the names."""


@dataclass(frozen=True)
class Tables:
    """Tables behind the page: both frames, `pairs_of` them, `comparison_frame`, and `curves_frame`."""

    cells: pd.DataFrame
    board: pd.DataFrame
    pairs: list[dict[str, Pair]]
    comparison: pd.DataFrame
    curves: pd.DataFrame


def tables_of(frames: Frames) -> Tables:
    """Adds the published values and the curves to the frames."""
    current = current_cells(frames.cells)
    pairs = pairs_of(current, frames.board)
    comparison = comparison_frame(frames.board, pairs)
    return Tables(frames.cells, frames.board, pairs, comparison, curves_frame(current))


@dataclass(frozen=True)
class Group:
    """Everything about one victim on one data set and preset, in one precision.

    `data` is the name of the data set for readers, `selection` what it was selected with.
    """

    number: int
    data: str
    selection: str
    preset: str
    victim: str
    precision: str
    facts: list[tuple[str, str]]
    answers: list[Answer]
    attacks: list[int]
    heat: list[HeatRow]
    has_published: bool
    comparison: ComparisonView
    curves: list[CurveFigure]
    figures: dict[str, dict[str, Any]]
    has_intervals: bool
    several_devices: bool
    undrawn: list[str]
    not_counted: str
    envelope: str
    test_images: int


@dataclass(frozen=True)
class Heading:
    """A column of the board.

    `name` is that of the leaderboard's column, `column` its class, `usual` whether it is shown before any choice,
    `narrow` whether a narrow screen shows it then, `low_first` whether it is best where it is low, `half_width` the
    column of its intervals, or "", and `adaptive` whether it is the accuracy against an adaptive attack.
    """

    text: str
    meaning: str
    name: str
    column: str
    usual: bool = False
    narrow: bool = False
    low_first: bool = False
    half_width: str = ""
    adaptive: bool = False


@dataclass(frozen=True)
class Problem:
    """An error (or why a cell was skipped) and the cells that it stopped, by column."""

    status: str
    stage: str
    message: str
    cells: list[dict[str, str]]


@dataclass(frozen=True)
class Page:
    """The whole board: attacks by number, groups, headings, rows, whether a row has a curve, and what is missing.

    `adaptive` are the numbers of adaptive attacks, the last ones; `shared` are flags of every row, which the rows
    themselves do not repeat.
    """

    attacks: list[str]
    adaptive: list[int]
    groups: list[Group]
    headings: list[Heading]
    rows: list[BoardRow]
    shared: dict[str, Flag]
    has_curves: bool
    problems: list[Problem]
    absent: list[str]


def page_view(
    tables: Tables, curves: Mapping[tuple[str, ...], Sparkline], papers: Mapping[str, Paper] | None = None
) -> Page:
    """Everything on the page, in the order of the board.

    Args:
        tables: what the board shows.
        curves: those of `sparklines`.
        papers: by registered name of the defense.
    """
    current, board, pairs = current_cells(tables.cells), tables.board.reset_index(drop=True), tables.pairs
    numbers = {name: number for number, name in enumerate(["none", *accuracy_columns(board)])}
    written = as_text(board)
    shown = [c for c in shown_in(View.PAGE, View.CHOICE) if (written[c.name].notna() & (written[c.name] != "")).any()]
    data = data_names(board)
    groups, rows = [], []
    for number, (_, part) in enumerate(board.groupby(GROUP, sort=False)):
        own = [pairs[index] for index in part.index]
        cells, curves_of = (of[(of[GROUP] == list(part[GROUP].iloc[0])).all(axis=1)] for of in (current, tables.curves))
        drawn = curve_figures(curves_of)
        groups.append(
            _group(number, data[part.index[0]], part, cells, own, comparison_view(published_of(own)), drawn, numbers)
        )
        rows += [
            board_row(
                int(str(index)),
                number,
                row,
                part,
                shown,
                of_row,
                numbers,
                curves.get(row_names(row)),
                (papers or {}).get(str(row["defense"]), Paper()),
            )
            for (index, row), of_row in zip(part.iterrows(), own, strict=True)
        ]
    headings = [_heading(column, f"m{number}") for number, column in enumerate(shown)]
    headings += [
        replace(_heading(of_attack(name), f"at at{n}", half_width_column(name)), adaptive=names_adaptive(name))
        for name, n in numbers.items()
        if n
    ]
    adaptive = [n for name, n in numbers.items() if names_adaptive(name)]
    shared = shared_flags(board)
    rows = [replace(row, flags={text: flag for text, flag in row.flags.items() if text not in shared}) for row in rows]
    has_curves = any(row.curve for row in rows)
    missing = _problems(current), _absent(current)
    return Page(list(numbers), adaptive, groups, headings, rows, shared, has_curves, *missing)


def _heading(shown: Shown, column: str, half_width: str = "") -> Heading:
    usual, low_first = View.PAGE in shown.views, not shown.high_first
    half_width = "half_width_95" if shown.name == "mean_accuracy" else half_width
    return Heading(
        shown.title, shown.described, shown.name, column, usual, shown.name in _NARROW, low_first, half_width
    )


def _group(
    number: int,
    data: str,
    board: pd.DataFrame,
    cells: pd.DataFrame,
    pairs: Sequence[dict[str, Pair]],
    comparison: ComparisonView,
    curves: list[CurveFigure],
    numbers: dict[str, int],
) -> Group:
    first, first_cell = board.iloc[0], cells.iloc[0]
    selection = first["dataset_selection"]
    selected = [] if data.startswith(selection) else [("data set selected as", selection)]
    present = [name for name in numbers if any(name in row and row[name].accuracy is not None for row in pairs)]
    undrawn = (board["defense"] != "none") & board["mean_accuracy"].notna() & board["cost_multiple"].isna()
    heat = [
        HeatRow(name, [heat_cell(numbers[a], row[a]) for a in present if a in row])
        for name, row in zip(board["defense_selection"], pairs, strict=True)
    ]
    return Group(
        number=number,
        data=data,
        selection=selection,
        preset=first["preset"],
        victim=first["victim_selection"],
        precision=first["precision"],
        facts=[*selected, *_facts(cells, first["not_counted"])],
        answers=headline(board, int(first_cell["test_images"])),
        attacks=[numbers[name] for name in present],
        heat=heat,
        has_published=any(cell.published for row in heat for cell in row.cells),
        comparison=comparison,
        curves=curves,
        figures=figures(board),
        has_intervals=bool(board["half_width_95"].notna().any()),
        several_devices=on_several_devices(board),
        undrawn=[formats.isolated(name) for name in board.loc[undrawn, "defense_selection"]],
        not_counted=not_counted_note(board),
        envelope=envelope_note(board),
        test_images=int(first_cell["test_images"]),
    )


def _facts(cells: pd.DataFrame, not_counted: Sequence[str]) -> list[tuple[str, str]]:
    """Facts of a group; `not_counted` are the attacks whose poison did not take."""
    first = cells.iloc[0]
    poisoned = cells[cells["attack"] != "none"]
    adaptive, counted = is_adaptive(poisoned["attack"]), poisoned["counted"].astype(bool)
    untaken = poisoned["attack_selection"].isin(not_counted)
    points = sorted(set(poisoned.loc[~adaptive & ~counted & ~untaken, "attack_selection"]))
    swept = ", ".join(map(formats.isolated, points))
    facts = [
        ("images", f"{first['train_images']:,} train, {first['test_images']:,} test"),
        ("attacks", _attacks(poisoned[counted])),
        ("points of curves alone", f"{swept}: in no mean, worst, rank or count" if swept else ""),
        ("poisons that did not take", _attacks(poisoned[untaken])),
        ("adaptive attacks", _attacks(poisoned[adaptive])),
        ("seeds", ", ".join(str(seed) for seed in sorted(cells["seed"].unique()))),
        ("device", "; ".join(sorted({AND.join(devices) for devices in cells["device"] if devices})) or formats.DASH),
        ("data digest", str(first["dataset_digest"])[:16]),
    ]
    return [(name, value) for name, value in facts if value]


def _attacks(cells: pd.DataFrame) -> str:
    """Selections, each with the distance of its images from the clean ones in brackets."""
    texts = {formats.isolated(str(name)): _distance(of) for name, of in cells.groupby("attack_selection")}
    return ", ".join(f"{name} ({text})" if text else name for name, text in texts.items())


def _distance(of_attack: pd.DataFrame) -> str:
    """Distance of poisoned images from the clean ones: the budget, or the measured distance if it has no bound."""
    budgets = of_attack["budget"].dropna()
    if budgets.empty or budgets.iloc[0] != NO_BOUND:
        return "" if budgets.empty else str(budgets.iloc[0])
    shown = {"score_poison_psnr_db": "PSNR {:.1f} dB", "score_poison_ssim": "SSIM {:.2f}"}
    means = {text: of_attack[name].mean() for name, text in shown.items() if name in of_attack}
    return "; ".join([NO_BOUND, *(text.format(mean) for text, mean in means.items() if not formats.is_missing(mean))])


def _problems(cells: pd.DataFrame) -> list[Problem]:
    """Failed and skipped cells; those with the same message stand together."""
    error, named = ["status", "error_stage", "error_message"], ["attack_selection", "defense_selection"]
    bad = cells.loc[cells["status"] != "done", [*error, *named, "victim_selection", "seed", "key"]]
    bad = bad.fillna({"error_stage": "", "error_message": ""})
    return [
        Problem(
            *map(str, why), [{str(name): str(value) for name, value in row.items()} for row in of.to_dict("records")]
        )
        for why, of in bad.groupby(error, sort=False)
    ]


def _absent(cells: pd.DataFrame) -> list[str]:
    """Cells of the full matrix for which there is no result at all, counted by defense and group.

    Cells that the board does not count are left out, as in the column `missing`.
    """
    lines = []
    counted = cells.assign(dataset=data_names(cells))[cells["counted"].astype(bool)]
    for place, group in counted.groupby(["dataset", *GROUP[2:]], sort=True):
        name, _, preset, victim, precision = map(formats.isolated, place)
        expected = group["attack_selection"].nunique() * group["seed"].nunique()
        counts = group.groupby("defense_selection", sort=True).size()
        where = f"{victim}, {name}" + "".join(f", {word}" for word in (preset, precision) if word)
        lines += [
            f"{formats.isolated(defense)} on {where}: {expected - n} of {expected}"
            for defense, n in counts.items()
            if n < expected
        ]
    return lines
