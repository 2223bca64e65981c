"""The images beside every poison and every purified set."""

import pytest
import torch

from bench import run_matrix
from bench.api import Context, DataInfo, ImageSet
from bench.measure.samples import sample_rows, sample_tensors
from bench.store.artifacts import Store
from bench.store.results import read_cell
from bench.store.scores import SCORES
from leaderboard.site.contact_sheet import read_samples

TINY = "shapes:train=64:test=32"


def test_two_images_of_each_of_the_first_ten_classes():
    labels = torch.arange(60) % 12
    labels[labels == 3] = 4
    rows = sample_rows(labels)
    assert rows.dtype == torch.int32
    assert labels[rows.long()].tolist() == [k for k in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10) for _ in range(2)]
    assert rows[:4].tolist() == [0, 12, 1, 13], "the first two of each class"


def test_a_class_of_one_image_gives_one():
    assert sample_rows(torch.tensor([5, 0, 5, 5])).tolist() == [1, 0, 2]


def test_names_of_the_samples_are_reserved(make_context):
    ctx: Context = make_context()
    for name in ("sample_rows", "sample_clean", "sample_result"):
        with pytest.raises(ValueError, match="the result's own"):
            ctx.keep(name, torch.zeros(1))


def test_samples_are_of_the_same_images():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    clean = ImageSet(images, torch.tensor([0, 1, 0, 1]), DataInfo("x", 2, (1, 1, 1)))
    tensors = sample_tensors(clean, ImageSet(images + 10, clean.labels, clean.info))
    assert tensors["sample_rows"].tolist() == tensors["sample_clean"].flatten().tolist() == [0, 2, 1, 3]
    assert tensors["sample_result"].flatten().tolist() == [10, 12, 11, 13]


def test_every_image_artifact_has_them_and_aliases_nothing_else(tmp_path):
    run_matrix("ops", "iss-bdr", "linear:epochs=1", preset="demo", dataset=TINY, store=tmp_path, data_root=tmp_path)
    store = Store(tmp_path)
    found = {}
    for stage, key in store.artifacts():
        assert store.state(stage, key) == "valid"
        tensors = store.read(stage, key)
        manifest = store.manifest(stage, key)
        if stage == "train":
            continue
        found.setdefault((stage, manifest.alias_of), set()).update(tensors)
        if manifest.alias_of:
            assert set(tensors) == {"sample_rows", "sample_clean", "sample_result"}
        else:
            assert torch.equal(tensors["sample_result"], tensors["images"][tensors["sample_rows"].long()])
    assert set(found) == {("poison", "dataset"), ("poison", ""), ("purify", "poison"), ("purify", "")}
    for cell in map(read_cell, store.cells.glob("*.json")):
        clean, poisoned, purified = read_samples(tmp_path, cell)
        assert (clean == poisoned).all() == (cell.attack.name == "none")
        assert (poisoned == purified).all() == (cell.defense.name == "none")
        assert set(cell.scores) <= set(SCORES)


def test_a_damaged_alias_is_noticed(tmp_path):
    run_matrix("ops", "none", "linear:epochs=1", preset="demo", dataset=TINY, store=tmp_path, data_root=tmp_path)
    store = Store(tmp_path)
    aliases = [(s, k) for s, k in store.artifacts() if store.manifest(s, k).alias_of]
    data = store.folder(*aliases[0]) / "data.safetensors"
    data.write_bytes(data.read_bytes()[:-1])
    assert store.state(*aliases[0]) == "damaged"
