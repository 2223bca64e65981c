import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store.atomic_folder import MANIFEST
from bench.store.results import CellResult
from leaderboard.site.page import EXPORTS, page_assets
from tests.leaderboard.publishing import publish

MakeCell = Callable[..., CellResult]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publishing_writes_everything_and_nothing_else(matrix: list[CellResult], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "site"
    paths = publish(matrix, out)
    assert set(paths) == {"index.html", "cell.html", "methods.html", *EXPORTS}
    assert all(path == out / name for name, path in paths.items())
    assert set(contents(out)) == {*paths, *page_assets(), "cells/other.js", "cells/names.js", MANIFEST}
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_publishing_twice_gives_identical_bytes(matrix: list[CellResult], tmp_path: Path) -> None:
    publish(matrix, tmp_path / "one")
    publish(matrix[::-1], tmp_path / "two")
    publish(matrix, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_site_of_the_first_release_is_replaced(matrix: list[CellResult], tmp_path: Path) -> None:
    for name in ("cells.csv", "leaderboard.csv", "index.html"):
        (tmp_path / name).write_text("old")
    publish(matrix, tmp_path)
    assert b"old" not in contents(tmp_path).values()


def test_only_failures_are_published_as_such(make_cell: MakeCell, tmp_path: Path) -> None:
    paths = publish([make_cell(a, d, status="failed") for a in ("none", "lsp") for d in ("none", "dvae")], tmp_path)
    text = paths["index.html"].read_text()
    assert "no defense has all its cells yet" in text
    assert text.count("out of memory") == 1, "said once for the four cells"
    assert "0 finished, 4 failed" in text


def test_no_cells_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cells found; run the matrix first"):
        publish([], tmp_path)


@pytest.mark.parametrize("below", [".", "site"])
def test_a_file_in_the_way_is_named(make_cell: MakeCell, tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(UserError, match=r"taken.* is a file; choose another folder"):
        publish([make_cell()], tmp_path / "taken" / below)


def test_publishing_never_imports_torch() -> None:
    program = "import sys, leaderboard.publish, leaderboard.export.terminal; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
