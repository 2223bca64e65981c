"""What cannot work on a data set is said before the first second of work, and can be skipped."""

import json
from pathlib import Path

import numpy as np
import pytest

from .conftest import TINY


def archive(path, channels=3, side=16, classes=4, count=64):
    rng = np.random.default_rng(0)
    arrays = {
        f"x_{split}": rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
        for split, n in (("train", count), ("test", 2 * classes))
    }
    labels = {f"y_{split}": np.arange(len(arrays[f"x_{split}"])) % classes for split in ("train", "test")}
    np.savez(path, **arrays, **labels)
    return f"npz:{path}"  # in full: data sets are loaded once per process and name


@pytest.mark.parametrize(
    ("shape", "words", "problem"),
    [
        ({"channels": 1}, ["--attacks", "ar"], "attack 'ar': coefficients exist for 3 channels"),
        ({"classes": 120, "count": 240}, ["--attacks", "ar"], "shipped for up to 100 classes, not 120"),
        ({"classes": 1000, "count": 2000, "side": 8, "channels": 1}, ["--attacks", "ops"],
         "attack 'ops': 1000 classes leave no free pixel"),
        ({"classes": 10, "side": 8, "channels": 1}, ["--attacks", "lsp"],
         "attack 'lsp': 10 classes do not fit on 1 features (patches of 8 pixels on 8x8); use a smaller patch"),
        ({"classes": 10, "side": 1}, ["--attacks", "lsp:patch=1"], "on 1x1); use larger images or fewer classes"),
        ({"side": 15}, ["--defenses", "dvae"], "network 'tiny' needs image sides divisible by 2, got 15x15"),
        ({"side": 15}, ["--defenses", "vae,ae"], "defense 'ae': network"),
        ({}, ["--attacks", "rem:classes=3:craft_on=subset"], "needs images of at least 2 classes"),
        ({}, ["--attacks", "em:classes=3:craft_on=subset"], "needs images of at least 2 classes"),
        ({}, ["--attacks", "lsp+ops:sparsity=999"], "sparsity 999 exceeds the 256 pixels"),
        ({}, ["--victims", "efficientformer_l1"], "victim 'efficientformer_l1'"),
    ],
)  # fmt: skip
def test_it_is_an_error_of_plan_and_run(bench, tmp_path, shape, words, problem):
    data = archive(tmp_path / "odd.npz", **shape)
    common = ["--attacks", "ops", "--defenses", "iss-bdr", *TINY, "--dataset", data, *words]
    for command in ("plan", "run"):
        ended = bench(command, *common)
        assert ended.code == 2, ended.out
        assert problem in ended.err
        assert "--skip-impossible runs the rest of the matrix" in ended.err
    assert not (tmp_path / "results" / "artifacts").exists()


def test_the_rest_runs_and_the_board_says_what_was_skipped(bench, tmp_path):
    data = archive(tmp_path / "odd.npz", channels=1, side=15)
    run = ["--attacks", "ops,ar", "--defenses", "iss-bdr,dvae", *TINY, "--dataset", data, "--skip-impossible"]
    planned = bench("plan", *run)
    assert planned.code == 0
    assert "skipped, 2 cells: attack 'ar'" in planned.out
    ended = bench("run", *run)
    assert ended.code == 0, ended.err
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
    status = {(cell["attack"]["name"], cell["defense"]["name"]): cell["status"] for cell in cells}
    assert {place for place, found in status.items() if found == "done"} == {
        (attack, defense) for attack in ("none", "ops") for defense in ("none", "iss-bdr")
    }
    assert sum(found == "skipped" for found in status.values()) == 5
    both = next(c for c in cells if (c["attack"]["name"], c["defense"]["name"]) == ("ar", "dvae"))
    assert "attack 'ar'" in both["error"]["message"]
    assert "defense 'dvae'" in both["error"]["message"]
    assert ended.out.count("skipped: ") == 3, "one line for each reason: the attack, the defense, both"
    assert bench("show", both["key"]).code == 0
    assert bench("publish", "--out", "site").code == 0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which is not there"),
        (lambda path: path.symlink_to(path.name), "is a link to 8.png, which is not there"),
        (Path.mkdir, "is a folder, but it is called like an image"),
    ],
    ids=["link to nowhere", "link to itself", "folder"],
)
def test_a_poison_folder_that_cannot_be_read_is_skipped(bench, tmp_path, spoil, problem):
    (tmp_path / "poison").mkdir()
    spoil(tmp_path / "poison" / "8.png")
    words = ["--attacks", "ops,from-file:poison", "--defenses", "none", *TINY]
    for command in ("plan", "run"):
        ended = bench(command, *words)
        assert ended.code == 2
        assert "Traceback" not in ended.err
        assert f"error: attack 'from-file:path=poison': poison/8.png {problem}" in ended.err
    assert "skipped, 1 cell: attack 'from-file" in bench("plan", *words, "--skip-impossible").out
    ended = bench("run", *words, "--skip-impossible")
    assert ended.code == 0, ended.err
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
    assert {(cell["attack"]["name"], cell["status"]) for cell in cells} == {
        ("none", "done"), ("ops", "done"), ("from-file", "skipped"),
    }  # fmt: skip


def test_a_matrix_of_which_nothing_is_left_is_an_error(bench, tmp_path):
    data = archive(tmp_path / "odd.npz")
    words = ["--attacks", "ops", "--defenses", "iss-bdr", *TINY, "--dataset", data]
    ended = bench("run", *words, "--victims", "efficientformer_l1", "--skip-impossible")
    assert ended.code == 2
    assert "nothing of the matrix is left" in ended.err
