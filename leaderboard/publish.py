"""Everything a reader gets, written to one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.store.atomic_folder import check_folder, write_folder
from bench.store.results import CellResult
from leaderboard.export.command_lines import frame_without_paths, without_paths
from leaderboard.export.latex import latex_text
from leaderboard.export.text import csv_text, json_text, markdown_text
from leaderboard.site.cell_names import names_file
from leaderboard.site.cell_pages import cell_files
from leaderboard.site.methods import Method
from leaderboard.site.page import page_assets, render_pages
from leaderboard.site.sheets import draw_sheets
from leaderboard.site.views import tables_of
from leaderboard.tables.table import Frames


def publish(
    results: Sequence[CellResult],
    frames: Frames,
    out: Path,
    stores: Sequence[Path] = (),
    methods: Sequence[Method] = (),
    repeated: Sequence[CellResult] = (),
    note: Callable[[str], None] = lambda line: None,
    task: str = "",
) -> dict[str, Path]:
    """Writes the site: the pages, the tables as CSV, JSON, Markdown and LaTeX, the data of the cells, contact sheets.

    The folder is written under another name and renamed: it holds the new site or the old one, never half. The same
    results, stores and methods give the same bytes.

    Args:
        results: of all cells, whatever their status.
        frames: from `frames_of` the same results.
        out: a folder that does not exist, is empty, or was published before.
        stores: where to look for sample images and checksums; the first that has an artifact serves it.
        methods: descriptions of the registered components for the method page.
        repeated: from `read_stores`, cells that another store holds with another result; they are flagged, their
            results stand on the cell's page, and none of their accuracies is counted.
        note: is told of artifacts whose pictures cannot be read; the site is written without them.
        task: the task that all cells are of, and how much of it is finished, or "".

    Returns:
        The path of each page and table, by name.

    Raises:
        UserError: if the folder cannot be written.
    """
    check_folder(out)
    results = sorted((without_paths(result) for result in results), key=lambda result: result.key)
    tables = tables_of(replace(frames, cells=frame_without_paths(frames.cells)))
    board = tables.board
    texts = {
        "index.html": "",
        "leaderboard.csv": csv_text(board),
        "cells.csv": csv_text(tables.cells),
        "comparison.csv": csv_text(tables.comparison),
        "curves.csv": csv_text(tables.curves),
        "leaderboard.json": json_text(board),
        "leaderboard.md": markdown_text(board),
        "leaderboard.tex": latex_text(board),
        **render_pages(results, tables, methods, task),
    }
    sheets = draw_sheets(results, stores)
    for line in dict.fromkeys(sheets.damaged):
        note(line)
    contents = {name: text.encode("utf-8") for name, text in texts.items()}
    contents |= page_assets() | sheets.files | cell_files(results, tables.cells, sheets, stores, repeated)
    contents["cells/names.js"] = names_file(tables.cells)
    write_folder(out, contents)
    return {name: out / name for name in texts}
