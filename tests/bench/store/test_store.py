"""The store: round trips, damage, other versions, interrupted writes."""

import json

import pytest
import torch
from safetensors.torch import load_file

from bench.errors import UserError
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.results import Cost, Manifest

COST = Cost({"fit": 1.0}, 1.5, None, 10, None, "cpu", True, "2026-01-01T00:00:00+00:00")


KEY = "ab" * 32


def write(store, tensors):
    data = store.put(tensors)
    facts = (data.checksum, data.size, "", COST, {"scores": {}}, {}, data.images_digest)
    store.keep(data, Manifest(KEY, "poison", {"component": {"name": "x"}}, *facts))


def filled(tmp_path):
    store = Store(tmp_path)
    tensors = {
        "images": torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8),
        "mask": torch.tensor([True, False, True, True, False]),
        "perturbation": torch.randn(5, 3, 4, 4).half(),
        "predictions": torch.arange(5, dtype=torch.int32),
    }
    write(store, tensors)
    return store, tensors


def test_tensors_come_back_and_the_library_reads_the_file(tmp_path):
    store, tensors = filled(tmp_path)
    found = store.read("poison", KEY)
    library = load_file(store.folder("poison", KEY) / "data.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert torch.equal(library[name], tensor)
    assert store.state("poison", KEY) == "valid"
    assert store.manifest("poison", KEY).cost == COST


@pytest.mark.parametrize("damage", ["truncate", "flip", "no data", "no manifest", "edited manifest", "other key"])
def test_damage_is_noticed(tmp_path, damage):
    store, _ = filled(tmp_path)
    folder = store.folder("poison", KEY)
    data, about = folder / "data.safetensors", folder / "manifest.json"
    if damage == "truncate":
        data.write_bytes(data.read_bytes()[:-3])
    elif damage == "flip":
        content = bytearray(data.read_bytes())
        content[-1] ^= 1
        data.write_bytes(content)
    elif damage == "no data":
        data.unlink()
    elif damage == "no manifest":
        about.unlink()
    elif damage == "edited manifest":
        about.write_text("{")
    else:
        about.write_text(json.dumps({**json.loads(about.read_text()), "key": "cd" * 32}))
    assert store.state("poison", KEY) == "damaged"
    with pytest.raises(DamagedArtifactError):
        store.read("poison", KEY)


def test_an_artifact_is_replaced_whole(tmp_path):
    store, _ = filled(tmp_path)
    write(store, {"images": torch.zeros(1, dtype=torch.uint8)})
    assert list(store.read("poison", KEY)) == ["images"]


def test_an_interrupted_write_leaves_nothing_under_the_key(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.store.artifacts.write_json", die)
    with pytest.raises(KeyboardInterrupt):
        write(store, {"images": torch.zeros(9, dtype=torch.uint8)})
    assert store.state("poison", KEY) == "absent"
    assert not list(store.artifacts())


def test_a_store_of_another_schema_version_is_refused(tmp_path):
    Store(tmp_path)
    (tmp_path / "store.json").write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match=r"schema version 99.*--store"):
        Store(tmp_path)


def test_a_store_in_an_unusable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not usable"):
        Store(tmp_path / "file" / "store")


def test_leftovers_are_cleaned(tmp_path):
    store = Store(tmp_path)
    (store.scratch() / "x").write_bytes(b"12345")
    assert store.clean_partial() == 5
