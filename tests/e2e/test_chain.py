"""`lsp+ops` wherever an attack can be named; its pictures; plans and stores."""

import pandas as pd
import pytest
from PIL import Image

from .conftest import TINY

RUN = ["--attacks", "lsp,lsp:eps=2.0+ops:sparsity=2", "--defenses", "iss-bdr", *TINY]
CHAIN = "lsp:eps=2.0+ops:sparsity=2"


def test_a_chain_is_planned_run_shown_and_published(bench, tmp_path):
    planned = bench("plan", "--jobs", *RUN)
    assert planned.code == 0, planned.err
    assert f"poison {CHAIN}" in planned.out
    assert not (tmp_path / "results").exists(), "planning makes no store"
    ended = bench("run", *RUN)
    assert ended.code == 0, ended.err
    assert CHAIN in ended.out
    frame = pd.read_csv(tmp_path / "results" / "leaderboard" / "cells.csv")
    row = frame[frame.attack_selection == CHAIN].iloc[0]
    assert (row.attack, row.budget) == ("lsp+ops", "l2:2 + l0:2")
    board = pd.read_csv(tmp_path / "results" / "leaderboard" / "leaderboard.csv")
    assert f"accuracy[{CHAIN}]" in board.columns
    assert CHAIN in (tmp_path / "results" / "leaderboard" / "index.html").read_text(encoding="utf-8")
    shown = bench("show", row.key[:10])
    assert shown.code == 0
    for words in ("linear separability", "Share of held-out perturbations", "ops.sparsity = 2", CHAIN):
        assert words in shown.out
    assert "computed now: nothing" in bench("run", *RUN).out


def test_pictures_of_a_cell(bench, tmp_path):
    bench("run", *RUN)
    frame = pd.read_csv(tmp_path / "results" / "leaderboard" / "cells.csv")
    for key in frame.key:
        shown = bench("show", key, "--images", "sheet.png")
        assert shown.code == 0, shown.err
        assert "sample images: sheet.png" in shown.out
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.width > 200
    assert bench("show", frame.key[0], "--images", "sheet.jpg").code == 2
    assert "nowhere" in bench("show", frame.key[0], "--images", "nowhere/sheet.png").err
    for path in (tmp_path / "results").glob("artifacts/poison/*/*/data.safetensors"):
        path.unlink()
    for path in (tmp_path / "results").glob("artifacts/purify/*/*/data.safetensors"):
        path.unlink()
    ended = bench("show", frame.key[0], "--images", "sheet.png")
    assert ended.code == 2
    assert "has no sample images" in ended.err


def test_looking_for_a_cell_makes_no_store(bench, tmp_path):
    ended = bench("show", "abc")
    assert ended.code == 2
    assert "is not a store" in ended.err
    assert not (tmp_path / "results").exists()


def test_the_contracts_of_a_chain_and_of_a_choice_of_classes(bench):
    for text in ("lsp+ops", "ops:sparsity=2:classes=0-1"):
        checked = bench("check", text)
        assert checked.code == 0, checked.out
        assert f"attack {text}" in checked.out


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("lsp+", "attack 'lsp+': a '+' needs a name on both sides"),
        ("lsp+opss", "unknown attack 'opss'; did you mean ops?"),
        ("none+ops", "none is the clean training set"),
        ("lsp+lsp", "names lsp twice"),
        ("ops:classes=10", "attack 'ops:classes=10': classes=10: there is no class 10; choose from 0..9"),
        ("ops:classes=1;2", "separated by slashes: 0-4, 3, 0-2/7"),
    ],
)
def test_bad_attacks(bench, tmp_path, attacks, message):
    ended = bench("run", "--preset", "demo", "--attacks", attacks)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("results/artifacts/*"))
