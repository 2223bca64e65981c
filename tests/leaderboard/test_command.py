"""`bench publish`: what it says about stores and folders it cannot use, and that it then writes nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import cli
from bench.errors import UserError
from bench.store.results import CellResult
from tests.leaderboard.sample_store import write_samples

MakeCell = Callable[..., CellResult]


def write_store(root: Path, cells: list[CellResult]) -> Path:
    (root / "cells").mkdir(parents=True)
    for cell in cells:
        names = {"poison": cell.attack.text, "purify": f"{cell.attack.text}-{cell.defense.text}"}
        cell = replace(cell, artifacts=names if cell.artifacts else {})
        (root / "cells" / f"{cell.key}.json").write_text(json.dumps(asdict(cell)))
        if cell.artifacts:
            write_samples(root, cell)
    return root


def publish(out: Path, *stores: Path, more: tuple[str, ...] = ()) -> Result:
    options = [word for store in stores for word in ("--store", str(store))]
    return CliRunner().invoke(cli, ["publish", *options, "--out", str(out), *more])


def error_of(out: Path, *stores: Path) -> str:
    result = publish(out, *stores)
    assert isinstance(result.exception, UserError), result.output
    assert not out.exists()
    assert not list(out.parent.glob(".*"))
    return str(result.exception)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_stores_of_several_machines_are_merged(make_cell: MakeCell, tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", [make_cell(a, d) for a in ("none", "lsp") for d in ("none", "dvae")])
    shared = [make_cell(a, "none", train=99) for a in ("none", "lsp")]
    two = write_store(tmp_path / "two", [*shared, *(make_cell(a, "at", device="Other") for a in ("none", "lsp"))])
    result = publish(tmp_path / "site", one, two)
    assert result.exit_code == 0
    assert "2 cells are in several stores with the same accuracy and other costs" in result.stderr
    rows = {r["defense"]: r for r in json.loads((tmp_path / "site" / "leaderboard.json").read_text())["rows"]}
    assert rows["dvae"]["cost_seconds"] == rows["at"]["cost_seconds"] == 10.0
    assert {name: row["cost_rank"] for name, row in rows.items()} == {"none": None, "dvae": 1, "at": None}
    assert [name for name, row in rows.items() if "several devices" in row["flags"]] == ["at"]
    assert "other costs in another store" in rows["none"]["flags"]
    assert list((tmp_path / "site" / "sheets").glob("*.webp"))
    assert "arXiv:2405.01460" in (tmp_path / "site" / "methods.html").read_text(), "the registry describes D-VAE"


def test_publishing_again_and_in_another_order_gives_identical_bytes(make_cell: MakeCell, tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", [make_cell(a) for a in ("none", "lsp")])
    two = write_store(tmp_path / "two", [make_cell(a, "dvae") for a in ("none", "lsp")])
    for out, stores in (("a", (one, two)), ("b", (two, one)), ("b", (two, one))):
        assert publish(tmp_path / out, *stores).exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_empty_store_is_named_with_a_remedy(tmp_path: Path) -> None:
    assert "no cells found; run the matrix first" in error_of(tmp_path / "site", write_store(tmp_path / "s", []))
    assert "is not a store" in error_of(tmp_path / "site", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable cell"),
        ('{"schema_version": 99}', "written with schema version 99"),
        ('{"schema_version": 2}', "not a cell"),
        ("[]", "schema version None"),
    ],
)
def test_unusable_cells_are_named(make_cell: MakeCell, tmp_path: Path, content: str, message: str) -> None:
    store = write_store(tmp_path / "store", [make_cell()])
    (store / "cells" / "bad.json").write_text(content)
    error = error_of(tmp_path / "site", store)
    assert message in error
    assert "bad.json" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean_test_accuracy": "high"}, "not a cell (clean_test_accuracy"),
        ({"attack": {"name": "lsp"}}, "not a cell (attack.text: Field required)"),
        ({"dataset": {"name": "shapes"}}, "not a cell (dataset lacks spec, digest, train_images"),
        ({"costs": {"train": None}}, "not a cell (costs.train"),
        (
            {"clean_test_accuracy": 7.0},
            "not a cell (clean_test_accuracy 7.0 of a cell that is done; done ones",
        ),
        ({"clean_test_accuracy": None}, "not a cell (clean_test_accuracy None of a cell that is done"),
        ({"clean_test_accuracy": float("nan")}, "not a readable cell (NaN is not a number)"),
        ({"status": "weird"}, "not a cell (status 'weird'; choices: done, failed, skipped)"),
        ({"key": "../../evil"}, "not a cell (a key that is no file name)"),
        ({"artifacts": {"poison": "../etc"}}, "not a cell (a key that is no file name)"),
        ({"curve": [{}]}, "not a cell (a point of the curve has no epoch)"),
    ],
)
def test_damaged_fields_are_named(make_cell: MakeCell, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    store = write_store(tmp_path / "store", [make_cell()])
    (path,) = (store / "cells").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert message in error_of(tmp_path / "site", store)
    assert not (tmp_path / "site").exists()


def test_stores_that_disagree_are_refused(make_ranked_cell: MakeCell, tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", [make_ranked_cell(accuracy=0.5)])
    two = write_store(tmp_path / "two", [make_ranked_cell(accuracy=0.6)])
    assert "accuracies differ (0.5 and 0.6)" in error_of(tmp_path / "site", one, two)
    result = publish(tmp_path / "site", one, two, more=("--first-wins",))
    assert result.exit_code == 0
    assert "0.5 is shown, 0.6 is not" in result.stderr
    (row,) = json.loads((tmp_path / "site" / "leaderboard.json").read_text())["rows"]
    assert row["accuracy[lsp]"] == 0.5
    assert row["flags"] == "other accuracy in another store: lsp"


def test_a_store_with_only_failures_is_published_as_such(make_cell: MakeCell, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [make_cell(a, status="failed") for a in ("none", "lsp")])
    result = publish(tmp_path / "site", store)
    assert result.exit_code == 0
    assert "0 of 2 cells finished" in result.stderr
    assert "no defense has all its cells yet" in (tmp_path / "site" / "index.html").read_text()


@pytest.mark.parametrize("out", ["/proc/site", "file/site"])
def test_a_folder_that_cannot_be_written_is_named(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert f"cannot write to {out}" in error_of(Path(out), write_store(tmp_path / "store", [make_cell()]))


def test_one_seed_is_never_counted_twice(make_cell: MakeCell, tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", [make_cell()])
    two = write_store(tmp_path / "two", [replace(make_cell(), key="other")])
    assert "would count one seed twice" in error_of(tmp_path / "site", one, two)


def test_a_folder_of_others_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.txt").write_text("mine")
    result = publish(tmp_path / "site", store)
    assert "did not write (mine.txt)" in str(result.exception)
    assert contents(tmp_path / "site") == {"mine.txt": b"mine"}


def test_a_site_is_written_without_the_pictures_of_a_damaged_artifact(make_cell: MakeCell, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [make_cell("lsp", "dvae")])
    for data in store.glob("artifacts/*/*/*/data.safetensors"):
        data.write_bytes(data.read_bytes()[:100])
    result = publish(tmp_path / "site", store)
    assert result.exit_code == 0, result.output
    assert "note: no pictures of a cell" in result.output
    assert (tmp_path / "site" / "index.html").is_file()
    assert not list((tmp_path / "site").glob("sheets/*"))
