"""The boards of the repository: each one is intact, and the README's table is what its board shows."""

import re
from pathlib import Path

import pytest

from bench.portable.checks import check_export
from bench.portable.reading import read_export
from leaderboard.tables.columns import accuracy_column
from leaderboard.tables.stores import read_stores
from leaderboard.tables.table import frames_of

ROOT = Path(__file__).parents[1]
BOARDS = sorted(folder for folder in (ROOT / "boards").glob("*") if folder.is_dir())


@pytest.mark.parametrize("folder", BOARDS, ids=lambda folder: folder.name)
def test_every_board_is_intact(folder: Path) -> None:
    assert check_export(read_export(folder)) == []


@pytest.mark.skipif(not BOARDS, reason="the source archive has no boards; a clone has them, and runs this test")
def test_the_table_of_the_readme_is_the_board() -> None:
    board = frames_of(read_stores([ROOT / "boards/cifar10-cpu"]).cells).board
    board = board[board["victim_selection"] == "small-cnn"].set_index("defense_selection")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| accuracy, % .*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    head, _, *rows = (line.strip("| ").split(" | ") for line in table[0].splitlines())
    columns = {"mean": "mean_accuracy", "clean": "clean_accuracy"}
    compared = 0
    for name, *values in rows:
        row = board.loc[re.sub(r"[`*]", "", name)]
        for title, value in zip(head[1:], values, strict=True):
            if title in {"cost, s", "x training"}:
                continue
            column = columns.get(title, accuracy_column(title.lower()))
            assert value.strip("*") == f"{100 * row[column]:.1f}", f"{name}, {title}"
            compared += 1
    assert compared >= 40
