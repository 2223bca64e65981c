import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.results import CellResult
from leaderboard.publish import publish

MakeCell = Callable[..., CellResult]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publishing_writes_everything_and_nothing_else(matrix: list[CellResult], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "site"
    paths = publish(matrix, out)
    assert paths == {name: out / name for name in ("cells.csv", "leaderboard.csv", "leaderboard.md", "index.html")}
    assert set(contents(out)) == {*paths, "assets/plotly.min.js"}
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_publishing_twice_gives_identical_bytes(matrix: list[CellResult], tmp_path: Path) -> None:
    publish(matrix, tmp_path / "one")
    publish(matrix[::-1], tmp_path / "two")
    publish(matrix, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_failing_write_leaves_the_old_files(
    matrix: list[CellResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(matrix, tmp_path)
    before = contents(tmp_path)
    write = Path.write_bytes

    def full_disk(path: Path, data: bytes) -> int:
        if path.name == "index.html":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(UserError, match="No space left"):
        publish(matrix[:4], tmp_path)
    assert contents(tmp_path) == before


def test_no_cells_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cells found; run the matrix first"):
        publish([], tmp_path)


@pytest.mark.parametrize("below", [".", "site"])
def test_a_file_in_the_way_is_named(make_cell: MakeCell, tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(UserError, match=r"taken.* is a file; choose another folder"):
        publish([make_cell()], tmp_path / "taken" / below)


def test_publishing_never_imports_torch() -> None:
    program = "import sys, leaderboard.publish, leaderboard.terminal; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
