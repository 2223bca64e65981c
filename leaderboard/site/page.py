"""The pages: templates filled, with the scripts and the style they need next to them. They open offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench import formats
from bench.store.results import PAYS_ONCE_SECONDS, CellResult
from bench.store.scores import SCORES
from leaderboard.published.papers import papers_of
from leaderboard.published.values import largest_repeat, tolerance
from leaderboard.site import curves
from leaderboard.site.board_rows import Paper
from leaderboard.site.methods import Method, method_cards
from leaderboard.site.scatter import AXES
from leaderboard.site.sparkline import HEIGHT, WIDTH, sparklines
from leaderboard.site.views import Page, Tables, page_view
from leaderboard.tables.columns import BOARD_COLUMNS
from leaderboard.tables.datasets import data_names
from leaderboard.tables.envelope import SETTINGS
from leaderboard.tables.flags import Flag, has
from leaderboard.tables.groups import BEST_RULE
from leaderboard.tables.shown import ADAPTIVE_NOTE
from leaderboard.tables.table import current_cells
from leaderboard.tables.uses import explained

EXPORTS = (
    *("leaderboard.csv", "cells.csv", "comparison.csv", "curves.csv"),
    *("leaderboard.json", "leaderboard.md", "leaderboard.tex"),
)
_OWN = (
    "site.css",
    "board.js",
    "copy.js",
    "compare.js",
    "figure.js",
    "picture.js",
    "scatter.js",
    "slide.js",
    "names.js",
    "cell.js",
)


def render_pages(
    cells: Sequence[CellResult], tables: Tables, methods: Sequence[Method], task: str = ""
) -> dict[str, str]:
    """HTML by file name. Every name and message in it is escaped; the same tables give the same text.

    Args:
        cells: what the tables were made of.
        tables: what the board shows.
        methods: descriptions from the registry; what they lack is taken from the cells.
        task: the task that all cells are of, and how much of it is finished, or "".
    """
    frame = tables.cells
    counted = set(frame.loc[frame["counted"].astype(bool), "key"])
    papers = _papers(cells, methods)
    page = page_view(tables, sparklines(cell for cell in cells if cell.key in counted), papers)
    values: dict[str, dict[str, Any]] = {
        "index.html": {
            "page": page,
            "filters": _filters(page),
            "places": [(name, label) for name, label, choices in _filters(page)[:4] if len(choices) > 1],
            "axes": AXES,
            "curve_size": (WIDTH, HEIGHT),
            "area": curves.AREA,
            "facts": [("task", task)] * bool(task) + _facts(cells, frame, tables.board),
            "exports": EXPORTS,
            "environment": _environment(frame),
            "columns": BOARD_COLUMNS,
            "flag": Flag,
            "adaptive_note": ADAPTIVE_NOTE,
            "best_rule": BEST_RULE,
            "uses": sorted({use for row in page.rows for use in row.uses}),
            "envelope_settings": SETTINGS,
            "pays_once_seconds": PAYS_ONCE_SECONDS,
            "tolerance": f"{100 * tolerance():.2f}",
            "largest_repeat": f"{100 * largest_repeat():.1f}",
        },
        "methods.html": {"kinds": method_cards(methods, cells)},
        "cell.html": {"scores": [{"name": name, **asdict(score)} for name, score in SCORES.items()]},
    }
    environment = Environment(
        loader=PackageLoader("leaderboard.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    environment.filters["explained"] = explained
    return {name: environment.get_template(f"{name}.j2").render(given) for name, given in values.items()}


def _papers(cells: Sequence[CellResult], methods: Sequence[Method]) -> dict[str, Paper]:
    """Origin of each defense by its name; a chain has the descriptions of its parts."""
    known = {method.name: f"{method.heading} {method.description}" for method in methods if method.kind == "defense"}
    sources = {cell.defense.name: cell.defense.source for cell in cells}
    return {
        name: Paper(source, papers_of(source), " ".join(known.get(part, "") for part in name.split("+")))
        for name, source in sources.items()
    }


def breakable(name: str) -> Markup:
    """A name whose direction of writing ends with it; a line ends behind `:`, `=`, `,` or `_` rather than in a word."""
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(re.split(r"(?<=[:=,_])(?=\S)", name)))


def page_assets() -> dict[str, bytes]:
    """Files the pages need next to them, by relative path: our own, and Plotly's script from the installed package."""
    templates = files("leaderboard.site") / "templates"
    own = {f"assets/{name}": (templates / name).read_bytes() for name in _OWN}
    return own | {"assets/plotly.min.js": (files("plotly") / "package_data" / "plotly.min.js").read_bytes()}


def _filters(page: Page) -> list[tuple[str, str, list[str]]]:
    """Name in the address, label and choices of each filter."""
    groups = page.groups
    return [
        ("data", "data set", list(dict.fromkeys(group.data for group in groups))),
        ("preset", "preset", list(dict.fromkeys(group.preset for group in groups))),
        ("victim", "victim", list(dict.fromkeys(group.victim for group in groups))),
        ("precision", "precision", list(dict.fromkeys(group.precision for group in groups))),
        ("defense", "defense", sorted({row.defense for row in page.rows})),
        ("attack", "attack", page.attacks[1:]),
    ]


def _facts(cells: Sequence[CellResult], frame: pd.DataFrame, board: pd.DataFrame) -> list[tuple[str, str]]:
    """Facts of a run: content, date, machine, and the part that is missing. The date is that of the results."""
    done = int((frame["status"] == "done").sum())
    missing = int(board.loc[[not has(Flag.ORACLE, flags) for flags in board["flags"]], "missing"].sum())
    stopped = current_cells(frame).query("status != 'done'")
    absent = missing - int(stopped["counted"].astype(bool).sum())
    counts = {status: int((stopped["status"] == status).sum()) for status in ("failed", "skipped")} | {
        "not run": absent
    }
    lacking = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    dates = sorted({cost.created[:10] for cell in cells for cost in cell.costs.values()})
    devices = {device for devices in frame["device"] for device in devices}
    versions = [
        f"{name} {' and '.join(sorted(frame[column].dropna().unique()))}"
        for name, column in (("purify-bench", "provenance_purify-bench"), ("torch", "provenance_torch"))
        if column in frame
    ]
    facts = [
        ("data set", ", ".join(sorted(data_names(frame).unique()))),
        ("measured", " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])) or formats.DASH),
        ("machine" if len(devices) < 2 else "machines", "; ".join(sorted(devices)) or formats.DASH),
        ("cells", f"{done:,} finished, {lacking or 'none missing'}"),
        ("versions", ", ".join(versions)),
    ]
    return [(name, value) for name, value in facts if value]


def _environment(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Versions and settings as recorded with the cells; every distinct value is listed."""
    names = [name for name in frame.columns if name.startswith("provenance_")]
    values = {name: sorted(frame[name].dropna().unique()) for name in names}
    return [
        (name.removeprefix("provenance_").replace("_", " "), " · ".join(texts))
        for name, texts in values.items()
        if texts
    ]
