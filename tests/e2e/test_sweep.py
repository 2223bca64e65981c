"""`bench sweep`: an ordinary matrix, with a curve in the terminal, in a file and on the page."""

import pandas as pd

from .conftest import TINY

SWEEP = ["--defense", "jpeg", "--parameter", "quality=10..90:40", "--attacks", "lsp", *TINY]


def test_a_sweep_is_an_ordinary_matrix_with_a_curve(bench, tmp_path):
    ended = bench("sweep", *SWEEP)
    assert ended.code == 0, ended.err
    assert "jpeg: accuracy in % by quality" in ended.out
    board = tmp_path / "results" / "leaderboard"
    points = pd.read_csv(board / "curves.csv")
    assert points[points.against == "lsp"].value.tolist() == [10, 50, 90]
    cells = pd.read_csv(board / "cells.csv").set_index(["defense_selection", "attack_selection"]).clean_test_accuracy
    assert points[points.against == "lsp"].clean_test_accuracy.tolist() == [
        cells[f"jpeg{value}", "lsp"]
        for value in (":quality=10", "", ":quality=90")  # 50 is the default
    ]
    assert points.undefended_accuracy.tolist() == [cells["none", name] for name in points.against]
    assert "<polyline points=" in (board / "index.html").read_text(encoding="utf-8").split("by quality")[1]
    same = bench("run", "--defenses", "jpeg:quality=10,jpeg:quality=50,jpeg:quality=90", "--attacks", "lsp", *TINY)
    assert "computed now: nothing" in same.out


def test_mistakes_stop_before_any_work(bench, tmp_path):
    for words, message in (
        (["--parameter", "quality=10,30"], "takes one --attack or one --defense"),
        (["--defense", "jpeg", "--parameter", "qualty=10,30"], "no parameter 'qualty'"),
        (["--defense", "jpeg", "--parameter", "quality=10"], "at least 2"),
    ):
        ended = bench("sweep", *words, *TINY)
        assert ended.code == 2
        assert message in ended.err
    assert not (tmp_path / "results").exists()
