import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.site.cell_pages import cell_files
from leaderboard.site.sheets import Sheets
from leaderboard.tables.columns import as_text
from leaderboard.tables.table import cells_frame
from tests.leaderboard.sample_store import write_samples

MakeCell = Callable[..., CellResult]


def records(cells: list[CellResult], stores: list[Path] | None = None) -> dict[str, Any]:
    files = cell_files(cells, cells_frame(cells), Sheets(), stores or [])
    texts = [content.decode() for content in files.values()]
    assert all(text.startswith("addCells(") and text.endswith(");\n") for text in texts)
    return {key: record for text in texts for key, record in json.loads(text[len("addCells(") : -3]).items()}


def test_a_cell_has_its_numbers_and_its_relatives(matrix: list[CellResult]) -> None:
    found = records(matrix)
    assert set(found) == {cell.key for cell in matrix}
    key = "cifar10-paper-lsp-dvae-resnet18-1-done"
    record = found[key]
    assert record["clean_test_accuracy"] == 0.91
    assert record["derived"]["cost_seconds"] == 400.0
    assert record["derived"]["undefended_accuracy"] == pytest.approx(0.15)
    relatives = record["relatives"]
    assert relatives["seeds"] == [[s, f"cifar10-paper-lsp-dvae-resnet18-{s}-done"] for s in range(3)]
    assert found[relatives["undefended"]]["defense"]["name"] == "none"
    assert found[relatives["clean"]]["attack"]["name"] == "none"
    assert found[relatives["clean"]]["seed"] == 1


def test_keys_spread_over_files_by_their_first_characters(make_cell: MakeCell) -> None:
    cells = [replace(make_cell(seed=i), key=key) for i, key in enumerate(("00ab", "00cd", "f3", "../x", "Z"))]
    names = set(cell_files(cells, cells_frame(cells), Sheets(), []))
    assert names == {"cells/00.js", "cells/f3.js", "cells/other.js"}


def test_no_name_ends_the_script(make_cell: MakeCell) -> None:
    cells = [make_cell("</script><script>")]
    (content,) = cell_files(cells, cells_frame(cells), Sheets(), []).values()
    assert b"<" not in content


def test_curves_are_stored_by_column(make_cell: MakeCell) -> None:
    curve = [{"epoch": 1, "train_loss": 1 / 3, "clean_test_accuracy": None}, {"epoch": 2, "train_loss": 0.25}]
    cell = replace(make_cell(), curve=curve)
    assert records([cell])[cell.key]["curve"] == {
        "epoch": [1, 2],
        "train_loss": [0.333333, 0.25],
        "clean_test_accuracy": [None, None],
    }


def test_checksums_come_from_the_first_store_that_has_the_artifact(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("lsp", "dvae")
    write_samples(tmp_path / "two", cell)
    artifacts = records([cell], [tmp_path / "one", tmp_path / "two"])[cell.key]["artifacts"]
    assert artifacts["poison"] == {"key": "p0", "checksum": "c" * 64, "data_bytes": 4711, "alias_of": ""}
    assert artifacts["train"] == {"key": "t0"}


def test_a_damaged_manifest_is_named(make_cell: MakeCell, tmp_path: Path) -> None:
    write_samples(tmp_path, make_cell())
    (path,) = tmp_path.glob("artifacts/poison/*/*/manifest.json")
    path.write_text("{")
    with pytest.raises(UserError, match=r"manifest.json: damaged .*cache verify"):
        records([make_cell()], [tmp_path])


def test_results_in_another_store_stand_beside(make_cell: MakeCell) -> None:
    cell, again = make_cell("lsp", "dvae"), make_cell("lsp", "dvae", 0.75, purify=99, device="Other")
    frame = cells_frame([cell], [again])
    assert as_text(frame)["flags"].tolist() == ["other accuracy in another store"]
    (content,) = cell_files([cell], frame, Sheets(), [], [again]).values()
    (record,) = json.loads(content.decode()[len("addCells(") : -3]).values()
    assert record["costs"]["purify"]["wall_seconds"] == 10
    (other,) = record["elsewhere"]
    assert other["clean_test_accuracy"] == 0.75
    assert other["costs"]["purify"]["wall_seconds"] == 99
