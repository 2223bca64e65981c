"""The recipe of the ImageNet subset on a toy: a folder of images of several shapes, 64 pixels, random resized crops."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.store.artifacts import Store

SHAPES = [(96, 72), (72, 96), (80, 80), (150, 60)]  # width, height
TOY = "imagenet100:path=in:size=64:classes=4"
VICTIM = "small-cnn:random_resized_crop=true:epochs=6:batch_size=12"
MATRIX = [
    *("--attacks", "tap:shift=none:steps=2,rem:random_resized_crop=true:train_steps=4:batch_size=16,lsp"),
    *("--defenses", "dvae:epochs=2:warmup_epochs=1,iss-jpeg,at"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/train and in/val: a class is the color of its stripes; their direction, shapes and file formats vary."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for k in range(4):
            for i in range(count):
                width, height = SHAPES[i % len(SHAPES)]
                y, x = np.mgrid[:height, :width]
                stripes = np.sin((x, y, x + y, x - y)[i % 3] / 5 + draw.uniform(0, 6))[..., None]
                color = draw.uniform(90, 160) + stripes * [(60, 0, 0), (0, 60, 0), (0, 0, 60), (40, 40, 40)][k]
                file = tmp_path / "in" / split / f"n{k}" / f"{i}.{'jpg' if i % 2 else 'png'}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.clip(color, 0, 255).astype(np.uint8)).save(file)
    return tmp_path / "in"


def test_the_recipe_of_large_images_runs_from_a_folder_to_the_board(bench, folder, tmp_path):
    ended = bench("run", "--preset", "demo", "--dataset", TOY, "--victims", VICTIM, "--threads", "1", *MATRIX)
    assert ended.code == 0, ended.err
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "results/cells").glob("*.json"))]
    assert len(found) == 4 * 4
    assert {cell["status"] for cell in found} == {"done"}
    assert {cell["dataset"]["name"] for cell in found} == {"imagenet100"}
    assert {tuple(cell["dataset"]["shape"]) for cell in found} == {(3, 64, 64)}
    store = Store(tmp_path / "results")
    manifests = [store.manifest(*artifact) for artifact in store.artifacts()]
    recipes = [m.payload["recipe"] for m in manifests if m.stage == "train"]
    assert {(r["random_resized_crop"], r["crop_padding"]) for r in recipes} == {(True, 0)}
    rates = [m.payload["logs"]["stage1_kld"] for m in manifests if "stage1_kld" in m.payload.get("logs", {})]
    assert len(rates) == 4, "every poison and the clean set went through D-VAE"
    clean = next(c for c in found if (c["attack"]["name"], c["defense"]["name"]) == ("none", "none"))
    assert clean["clean_test_accuracy"] > 0.5, "four colors are told apart"
    assert (tmp_path / "results/leaderboard/index.html").is_file()


def test_squeezed_images_are_refused_without_a_crop_that_undoes_it(bench, folder, tmp_path):
    ended = bench("run", "--preset", "demo", "--dataset", TOY, "--attacks", "lsp", "--defenses", "none")
    assert ended.code == 2
    assert "victim 'small-cnn'" in ended.err
    assert "random_resized_crop=true" in ended.err
    assert not list((tmp_path / "results").glob("artifacts/*/*"))
