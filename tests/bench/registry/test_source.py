"""Source digests: an edit of any file that computes numbers changes the keys of what uses it."""

from pathlib import Path

import pytest

import bench.training
from bench.registry import source

ROOM = Path(bench.training.__file__).parent
FILES = sorted(ROOM.glob("*.py"))
BY_NAME = ("blocks", "moves", "pgd")  # plug-ins import them by their own names
LOOP = [path for path in FILES if path.stem not in BY_NAME]


@pytest.fixture
def edited(monkeypatch):
    """Digest of a module as if a file had one more line."""

    def digest_with(path, module):
        before = source.source_digest(module)
        monkeypatch.setitem(source._CONTENTS, path, source._content(path) + b"# edited\n")
        source.source_digest.cache_clear()
        after = source.source_digest(module)
        monkeypatch.undo()
        source.source_digest.cache_clear()
        return before, after

    return digest_with


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_of_the_training_room_is_covered(edited, path):
    module = f"bench.training.{path.stem}" if path.stem in BY_NAME else "bench.training"
    before, after = edited(path, module)
    assert before != after


@pytest.mark.parametrize("path", LOOP, ids=lambda path: path.stem)
def test_a_component_that_trains_depends_on_every_file_of_the_loop(edited, path):
    before, after = edited(path, "defenses.dvae.training")
    assert before != after


@pytest.mark.parametrize("path", sorted((ROOM / "surrogates").glob("*.py")), ids=lambda path: path.stem)
def test_an_attack_depends_on_every_file_of_its_surrogates(edited, path):
    before, after = edited(path, "attacks.em")
    assert before != after


def test_what_is_not_reached_changes_nothing(edited):
    pgd = next(path for path in FILES if path.stem == "pgd")
    before, after = edited(pgd, "defenses.dvae.training")
    assert before == after


def test_libraries_that_functions_import_are_loaded_before_a_clock_starts(monkeypatch):
    loaded = []
    monkeypatch.setattr(source.importlib, "import_module", loaded.append)
    source.load_imports.__wrapped__("defenses.filters.spectral")
    assert "pywt" in loaded
