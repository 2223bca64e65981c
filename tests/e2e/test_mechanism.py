"""Poisons bite and defenses restore: the demo victim on a part of the embedded data set."""

import pytest

from bench import run_matrix


@pytest.mark.slow
def test_one_pixel_ruins_the_victim_and_jpeg_brings_it_back(tmp_path):
    frame = run_matrix(
        "ops",
        "iss-jpeg",
        "small-cnn:epochs=15",
        dataset="shapes:train=600:test=300",
        preset="demo",
        store=tmp_path / "results",
        data_root=tmp_path / "data",
    )
    accuracy = frame.set_index(["attack", "defense"]).clean_test_accuracy
    assert accuracy["none", "none"] > 0.9
    assert accuracy["ops", "none"] < accuracy["none", "none"] - 0.4
    assert accuracy["ops", "iss-jpeg"] > accuracy["none", "none"] - 0.2
    row = frame.set_index(["attack", "defense"]).loc["ops", "iss-jpeg"]
    assert row.recovery > 0.6
    assert row.score_residual_poison_ratio < 0.5
