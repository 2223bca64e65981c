"""A victim that is fitted at once, from the plan to the export: purifiers and views work, training defenses do not."""

import json
from pathlib import Path

from .conftest import TINY

WORDS = ["--attacks", "ops", "--defenses", "iss-gray:test_view=true,at,early-stop", *TINY, "--victims", "knn:3"]


def test_a_fitted_victim_in_a_matrix(bench, tmp_path):
    refused = bench("run", *WORDS)
    assert refused.code == 2
    for defense, act in (("at", "changes the recipe and replaces the loss"), ("early-stop", "changes the recipe")):
        assert f"defense {defense!r} with victim 'knn:k=3': the defense {act}" in refused.err
    assert not (tmp_path / "results" / "artifacts").exists()
    planned = bench("plan", *WORDS, "--skip-impossible")
    assert "skipped, 2 cells: defense 'at' with victim 'knn:k=3'" in planned.out
    assert "not timed yet" in planned.out
    ended = bench("run", *WORDS, "--skip-impossible")
    assert ended.code == 0, ended.err
    paths = list((tmp_path / "results" / "cells").glob("*.json"))
    cells = [json.loads(path.read_text()) for path in paths]
    done = {(c["attack"]["name"], c["defense"]["name"]): c for c in cells if c["status"] == "done"}
    assert set(done) == {(attack, defense) for attack in ("none", "ops") for defense in ("none", "iss-gray")}
    assert len(cells) == len(done) + 4
    for (_, defense), cell in done.items():
        assert cell["curve"] == []
        assert "recipe" not in cell["victim"]["extra"]
        assert cell["test_images"] == 32
        assert set(cell["costs"]["train"]["phases"]) == {"warm", "train", "evaluate", *["view"] * (defense != "none")}
    assert bench("show", done["ops", "none"]["key"]).code == 0
    assert bench("publish", "--out", "site").code == 0
    assert bench("export", "--out", "export").code == 0
    verified = bench("verify", Path("export"))
    assert verified.code == 0, verified.out


def test_it_is_described(bench):
    told = bench("describe", "knn").out
    assert "trained: no: fitted once, without recipe; defenses that change the training are refused" in told
    assert "k = 5" in told
