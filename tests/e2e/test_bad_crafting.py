"""Attacks that cannot craft, or are stopped: the real command says what was wrong, and what is finished stays."""

import numpy as np
import pandas as pd
import pytest

from .conftest import TINY

# Seconds instead of the demo's minute; each attack in its own words.
QUICK = {
    "em": "em:steps=1:batches_per_round=1:max_rounds=1",
    "rem": "rem:train_steps=2",
    "tap": "tap:surrogate_epochs=1:steps=1",
}


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (
            "em:eps=0",
            "attack 'em': eps is an L-inf radius on the [0, 1] scale, at least 1/255 and below 1, got 0;",
        ),
        (
            "rem:eps=-8/255",
            "eps is an L-inf radius on the [0, 1] scale, at least 1/255 and below 1, got -0.0313725;",
        ),
        ("tap:eps=8", "got 8; write eps=8/255"),
        ("lsp:eps=0", "eps is the L2 norm of a whole image and must be at least 0.1, got 0; 6/255 for each entry"),
        ("ar:eps=-1", "eps is the L2 norm of a whole image and must be at least 0.1, got -1; the paper uses 1.0"),
        ("ar:norm=linf:eps=0", "eps must be in 1/255..1 with norm=linf, got 0; write eps=8/255"),
        ("em:eps=4.0", "L2 budgets are not supported here: lsp and ar take them"),
        ("em:norm=l2", "max_seconds; 'norm' is a parameter of ar, from-file"),
        ("ar:norm=l0", "attack 'ar': norm='l0': must be 'l2' or 'linf'"),
        (
            "em:surrogate=resnet",
            "attack 'em': surrogate='resnet': must be 'resnet18' or 'resnet18-imagenet' or 's-net'",
        ),
        (
            "rem:surrogate=vgg",
            "attack 'rem': surrogate='vgg': must be 'resnet18' or 'resnet18-imagenet' or 's-net'",
        ),
        ("rem:rho_a=6/255", "rho_a must be in 0..eps/2 = 4/255, got 6/255"),
    ],
)
def test_settings_are_refused_before_any_work(bench, tmp_path, attack, message):
    ended = bench("run", "--preset", "demo", "--attacks", attack)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("results/artifacts/*"))


@pytest.mark.parametrize("attack", QUICK)
def test_images_of_one_class_are_refused_before_any_work(bench, attack):
    ended = bench("run", "--attacks", f"{QUICK[attack]}:classes=3:craft_on=subset,ops", "--defenses", "none", *TINY)
    assert ended.code == 2
    assert "crafting needs images of at least 2 classes" in ended.err
    assert "choose a larger part of the set, or craft_on=all" in ended.err
    assert "Traceback" not in ended.out + ended.err


def test_a_set_of_one_class_is_refused(bench, tmp_path):
    images, labels = np.zeros((8, 32, 32, 3), dtype=np.uint8), np.zeros(8, dtype=np.int64)
    np.savez(tmp_path / "one.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    ended = bench("run", "--preset", "demo", "--dataset", "npz:one.npz", "--attacks", "em")
    assert ended.code == 2
    assert "all 8 training images are of class 0" in ended.err
    assert "give images of at least 2 classes" in ended.err
    assert not list(tmp_path.glob("results/artifacts/*"))


def test_a_set_smaller_than_a_batch_is_one_batch(bench):
    attacks = ",".join(f"{text}:batch_size=512" for text in QUICK.values())
    ended = bench("run", *TINY, "--attacks", attacks, "--defenses", "at:steps=1", "--victims", "linear:batch_size=512")
    assert ended.code == 0, ended.out


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (QUICK["em"], r"the surrogate's loss became \w+ .*in round 1 \(lr 1e\+30\); lower lr"),
        (QUICK["rem"], r"the surrogate's loss became \w+ by training step 2 \(lr 1e\+30\); lower lr"),
        (QUICK["tap"], r"loss became \w+ in epoch 1 of 1 \(lr 1e\+30\); lower lr"),
    ],
    ids=QUICK,
)
def test_a_diverging_surrogate_fails_its_cells_and_the_rest_stays(bench, tmp_path, attack, message):
    run = ("run", "--attacks", f"ops,{attack}:lr=1e30", "--defenses", "iss-bdr", *TINY)
    ended = bench(*run)
    assert ended.code == 1
    assert pd.Series([ended.out]).str.contains(message)[0]
    frame = pd.read_csv(tmp_path / "results" / "leaderboard" / "cells.csv")
    assert frame.groupby("attack").status.unique().map(list).to_dict() == {
        "none": ["done"],
        "ops": ["done"],
        attack.partition(":")[0]: ["failed"],
    }
    assert "computed now: nothing" not in bench(*run).out, "failed cells are tried again"


@pytest.mark.parametrize("limit", ["max_passes=10", "max_seconds=1e-6"])
@pytest.mark.parametrize("attack", ["em:stop_error=0:max_rounds=9", "rem", "tap:restarts=3"])
def test_a_limit_ends_crafting_and_marks_the_board(bench, tmp_path, attack, limit):
    ended = bench("run", "--attacks", f"{attack}:{limit},ops", "--defenses", "none", *TINY)
    assert ended.code == 0, ended.out
    results = tmp_path / "results" / "leaderboard"
    frame = pd.read_csv(results / "cells.csv")
    marked = frame.set_index("attack")["flags"].fillna("").str.contains("attack not converged").to_dict()
    assert marked == {"none": False, "ops": False, attack.partition(":")[0]: True}
    assert "attack not converged" in pd.read_csv(results / "leaderboard.csv")["flags"][0]
    assert f"attack not converged: {attack.partition(':')[0]}:" in (results / "index.html").read_text(encoding="utf-8")
    assert "attack not converged" in ended.out
