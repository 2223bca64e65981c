"""A named matrix from the command line, on a task as small as these tests."""

import pytest

from bench.select import tasks

TASK = """# A tiny task.
preset = "demo"
dataset = "shapes:train=64:test=32"
attacks = "lsp"
defenses = "iss-bdr"
victims = "linear:epochs=2"
seeds = 1
"""
FACT = "<dt>task</dt><dd>tiny-1, float32: 4 of 4 cells</dd>"


@pytest.fixture(autouse=True)
def _tiny(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tiny-1.toml").write_text(TASK)
    monkeypatch.setattr(tasks, "FOLDER", tmp_path / "tasks")


def test_a_task_runs_with_other_defenses_and_the_board_says_which_it_is(bench, tmp_path):
    assert "tiny-1  A tiny task." in bench("list", "tasks").out
    assert TASK.strip() in bench("describe", "tiny-1").out
    assert "4 cells (2 attacks x 2 defenses x 1 victim x 1 seed)" in bench("plan", "--task", "tiny-1").out
    ended = bench("run", "--task", "tiny-1", "--defenses", "iss-gray", "--threads", "1")
    assert ended.code == 0, ended.err
    assert "iss-bdr" not in ended.out
    page = tmp_path / "results" / "leaderboard" / "index.html"
    assert FACT in page.read_text()
    assert bench("publish", "--out", "site").code == 0
    assert (tmp_path / "site" / "index.html").read_bytes() == page.read_bytes()
    refused = bench("run", "--task", "tiny-1", "--attacks", "ops")
    assert refused.code == 2
    assert "attacks: task tiny-1 fixes it; leave it out" in refused.err
    bench("run", "--preset", "demo", "--attacks", "ops", "--defenses", "iss-gray", "--victims", "linear:epochs=2",
          "--dataset", "shapes:train=64:test=32", "--threads", "1")  # fmt: skip
    assert bench("publish", "--out", "site").code == 0
    assert FACT not in (tmp_path / "site" / "index.html").read_text(), "its cells are of several matrices now"
