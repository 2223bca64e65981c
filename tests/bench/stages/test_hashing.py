"""Image sets are hashed once when they are stored and once after a plug-in has had them, and changes are noticed."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
import torch

from bench import run_matrix
from bench.datasets.splits import content_digest, content_head
from bench.errors import ContractError
from bench.run.executors import inline
from bench.stages.execute import execute
from bench.stages.invariants import untouched
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.data_files import read_head
from bench.store.fingerprint import Fingerprint

IMAGES = 1000
WORDS = {"preset": "demo", "dataset": f"shapes:train={IMAGES}:test=20", "victims": "linear:epochs=1", "threads": 1}


@pytest.fixture
def passes(monkeypatch):
    """Passes of SHA-256 over as many bytes as the training images have, by stage; `plan` outside of stages."""
    sha256, file_digest = hashlib.sha256, hashlib.file_digest
    hashed, now = Counter(), ["plan"]

    class Counted:
        def __init__(self, data=b"", state=None):
            self._state = state or sha256()
            self.update(data)

        def update(self, data):
            hashed[now[0]] += memoryview(data).nbytes
            self._state.update(data)

        def copy(self):
            return Counted(state=self._state.copy())

        def digest(self):
            return self._state.digest()

        def hexdigest(self):
            return self._state.hexdigest()

    def counted_file(file, name):
        found = file_digest(file, name)
        hashed[now[0]] += file.seek(0, 2)
        return found

    def in_stage(job, session, on_progress):
        now[0] = job.stage
        try:
            return execute(job, session, on_progress)
        finally:
            now[0] = "plan"

    monkeypatch.setattr(hashlib, "sha256", Counted)
    monkeypatch.setattr(hashlib, "file_digest", counted_file)
    monkeypatch.setattr(inline, "execute", in_stage)

    def taken():
        found = {stage: round(bytes_ / (IMAGES * 3 * 32 * 32)) for stage, bytes_ in hashed.items()}
        hashed.clear()
        return found

    return taken


def test_passes_over_an_image_set(tmp_path, passes):
    """Jobs: the poisons `none` and `lsp`; `none` and `iss-gray` of both; four trainings."""
    run_matrix("lsp", "iss-gray", store=tmp_path / "store", data_root=tmp_path, repeat_costs=3, **WORDS)
    stored, handed_out = {"poison": 1, "purify": 2}, {"poison": 2, "purify": 4}
    expected = {stage: stored[stage] + handed_out[stage] for stage in stored}
    assert passes() == {"plan": 1, **expected, "train": 0}
    run_matrix("lsp", "iss-gray", store=tmp_path / "store", data_root=tmp_path, **WORDS)
    assert passes() == {"plan": 1 + sum(stored.values())}, "a new plan verifies what is stored"


def test_the_manifest_keeps_the_digest_of_the_images(tmp_path):
    run_matrix("lsp", "none", store=tmp_path / "store", data_root=tmp_path, **WORDS)
    store = Store(tmp_path / "store")
    known = {(stage, key): store.fingerprint(stage, key) for stage, key in store.artifacts()}
    stored = [name for name, fingerprint in known.items() if fingerprint]
    assert [stage for stage, _ in stored] == ["poison"], "others are aliases or predictions"
    images = store.read(*stored[0])["images"]
    head = read_head(store.folder(*stored[0]) / "data.safetensors")
    pixels = images.numpy().tobytes()
    assert known[stored[0]].digest == hashlib.sha256(head + pixels).hexdigest()
    assert known[stored[0]].fits(images)
    assert not known[stored[0]].fits(images.flip(0))


@pytest.mark.parametrize("part", ["images", "labels", "aspect_ratios"])
@pytest.mark.parametrize("is_known", [True, False])
def test_every_change_is_noticed(random_set, part, is_known):
    given = replace(random_set(), aspect_ratios=torch.ones(40))
    known = Fingerprint(content_head(given), content_digest(given)) if is_known else None
    with untouched(given, "nobody", known):
        pass
    with pytest.raises(ContractError, match="who modified its input in place"), untouched(given, "who", known):
        getattr(given, part)[3] += 1


def test_a_file_that_changes_is_verified_again(tmp_path):
    run_matrix("lsp", "none", store=tmp_path / "store", data_root=tmp_path, **WORDS)
    store = Store(tmp_path / "store")
    (poison,) = [item for item in store.artifacts() if store.manifest(*item).images_digest]
    store.read(*poison)
    data = store.folder(*poison) / "data.safetensors"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.unlink()
    data.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match="sha256"):
        store.read(*poison)
