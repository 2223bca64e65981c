"""Everything a reader gets, written to one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import UserError
from bench.results import CellResult
from leaderboard.export import csv_text, markdown_text
from leaderboard.page import page_assets, render_page
from leaderboard.table import cells_frame, leaderboard_frame


def publish(cells: Sequence[CellResult], out: Path) -> dict[str, Path]:
    """Writes `cells.csv`, `leaderboard.csv`, `leaderboard.md`, `index.html` and what the page needs.

    Everything is rendered and written beside before the first old file is replaced. The same cells give the same bytes.

    Returns:
        The path of each of the four files, by name.

    Raises:
        UserError: if there is no cell, two finished cells are the same, or the folder cannot be written.
    """
    if not cells:
        raise UserError("nothing to publish: no cells found; run the matrix first, or name the --store it was run with")
    frame = cells_frame(cells)
    board = leaderboard_frame(frame)
    texts = {
        "cells.csv": csv_text(frame),
        "leaderboard.csv": csv_text(board),
        "leaderboard.md": markdown_text(board),
        "index.html": render_page(frame, board),
    }
    contents = page_assets() | {name: text.encode("utf-8") for name, text in texts.items()}
    try:
        for name in contents:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out, prefix=".publish-") as folder:
            staged = {name: Path(folder) / name.replace("/", "-") for name in contents}
            for name, content in contents.items():
                staged[name].write_bytes(content)
            for name, path in staged.items():
                path.replace(out / name)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot publish to {out}: {error.filename} is a file; choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot publish to {out}: {error}; choose a folder that can be written") from error
    return {name: out / name for name in texts}
