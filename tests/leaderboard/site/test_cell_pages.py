import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.formats import DASH
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
    assert record["headline"]["accuracy"] == "91.0 %"
    assert record["headline"]["cost"] == "6.67 min"
    assert record["headline"]["undefended"] == "15.0 %"
    assert record["charged"][0] == ["purification", "6.67 min"]
    relatives = record["relatives"]
    assert relatives["seeds"] == [[s, f"cifar10-paper-lsp-dvae-resnet18-{s}-done"] for s in range(3)]
    assert found[relatives["undefended"]]["defense"]["name"] == "none"
    assert found[relatives["clean"]]["attack"]["name"] == "none"
    assert found[relatives["clean"]]["seed"] == 1


def test_a_radius_is_written_as_a_fraction(make_cell: MakeCell) -> None:
    cell = make_cell("em")
    attack = replace(cell.attack, parameters={"eps": 8 / 255, "steps": 20}, extra={"inner": {"step_size": 0.8 / 255}})
    (record,) = records([replace(cell, attack=attack)]).values()
    assert record["attack"]["parameters"] == {"eps": "8/255", "steps": 20}
    assert record["attack"]["extra"] == {"inner": {"step_size": "0.8/255"}}
    assert record["victim"]["extra"]["recipe"]["weight_decay"] == "0.0005"


def test_scores_are_those_of_the_purification_only_where_there_is_one(make_cell: MakeCell) -> None:
    scores = {"poison_linf_max": 14 / 255, "poison_l2_mean": 1.5, "purified_psnr_db": 27.5}
    cells = [replace(make_cell("lsp", d, extra={"purifies": d == "gray"}), scores=scores) for d in ("at", "gray")]
    trained, purified = (records(cells)[cell.key]["scores"] for cell in cells)
    assert trained == {"poison_linf_max": "14/255", "poison_l2_mean": "1.5"}
    assert purified == trained | {"purified_psnr_db": "27.5"}


def test_a_failed_cell_has_its_baselines(matrix: list[CellResult], make_cell: MakeCell) -> None:
    failed = make_cell("lsp", "at", status="failed")
    headline = records([*matrix, failed])[failed.key]["headline"]
    assert (headline["accuracy"], headline["undefended"], headline["clean"]) == (DASH, "14.0 %", "94.0 %")


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
    assert artifacts[0] == ["poison", "p0", "c" * 64, "4.6 KiB"]
    assert artifacts[-1] == ["train", "t0", DASH, DASH]


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
    purified = [row[1:3] for row in record["costs"] if row[0] == "purify"]
    assert purified == [["whole stage", "10 s"], ["in another store, not used", "99 s"]]
    assert record["disagreeing"] == ["75.0"]


def test_numbers_are_sent_as_text(make_cell: MakeCell) -> None:
    """The page and the terminal write a number alike: both take it from `bench.formats`."""
    logs = {"poison": {"loss": 1 / 3, "steps": 20, "converged": True, "sizes": [1, -0.5], "unknown": None}}
    cell = replace(make_cell(logs=logs), scores={"poison_psnr_db": 30.123456, "purified_psnr_db": None})
    record = records([cell])[cell.key]
    assert [row[2] for row in record["logs"]] == ["0.333333", "20", "true", "1, −0.5", DASH]
    assert record["scores"] == {"poison_psnr_db": "30.1235"}
    (train,) = [row for row in record["costs"] if row[0] == "train"]
    assert train[2:6] == ["101 s", "2 GiB", "3 GiB", "10.1 kJ"]
    assert train[-1] == "2026-01-02 03:04:05 UTC"


def test_the_spectrum_has_labels_and_no_bars_without_scores(make_cell: MakeCell) -> None:
    cell = make_cell()
    bands = {f"poison_band_{n}": share for n, share in enumerate((0.5, 0.2, 0.1, 0.1, 0.1), start=1)}
    (record,) = records([replace(cell, scores={**cell.scores, **bands, "poison_channel_1": None})]).values()
    assert record["spectrum"]["cycles per pixel"][0] == ["0–0.0625", 0.5]
    assert len(record["spectrum"]["cycles per pixel"]) == 5
    assert record["spectrum"]["channel"] == []
    (record,) = records([cell]).values()
    assert record["spectrum"] == {"cycles per pixel": [], "channel": []}
