"""One cell on the terminal."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.show import show_cell
from bench.store.scores import SCORES
from tests.leaderboard.synthetic import synthetic_cells, write_store


def test_scores_without_a_value_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"status": "failed", "clean_test_accuracy": None, "curve": [], "error": {"message": "no room"}}
    scores = {"poison_psnr_db": 30.5, "purified_psnr_db": None}
    cell = replace(synthetic_cells(1)[-1], **failed, scores=scores)
    write_store(tmp_path, [cell])
    show_cell(cell.key, tmp_path)
    shown = capsys.readouterr().out
    assert "no room" in shown
    assert SCORES["poison_psnr_db"].label in shown
    assert SCORES["purified_psnr_db"].label not in shown
    write_store(tmp_path / "none", [replace(cell, scores=dict.fromkeys(scores))])
    show_cell(cell.key, tmp_path / "none")
    assert "meaning" not in capsys.readouterr().out, "no empty table"
