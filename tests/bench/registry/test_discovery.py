"""Components are found in folders of the repository and by entry points; a broken file costs its components alone."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import bench.registry
from bench.errors import UserError
from bench.registry import Registry, defenses, discovery, load_plugin
from bench.select.spec import select

ROOT = Path(__file__).parents[3]
COMPONENT = '''
from dataclasses import dataclass
from bench.registry import shields

@shields.register("{name}")
@dataclass(frozen=True)
class Shield:
    """Protects."""
'''


@pytest.fixture
def shields(monkeypatch, tmp_path):
    """A registry of a kind of its own, whose folder of the repository is `tmp_path/shields`."""
    for other in bench.registry.BY_KIND.values():
        other.load()  # from their own folders
    registry = Registry("shield", "no.group", "shields")
    monkeypatch.setattr(discovery, "_ROOT", tmp_path)
    monkeypatch.setattr(bench.registry, "shields", registry, raising=False)
    monkeypatch.setitem(bench.registry.BY_KIND, "shields", registry)
    monkeypatch.syspath_prepend(tmp_path)
    _write(tmp_path / "shields/__init__.py", "")
    yield registry
    for name in [name for name in sys.modules if name.partition(".")[0] == "shields"]:
        del sys.modules[name]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_and_packages_of_the_folder_are_found(shields, tmp_path):
    _write(tmp_path / "shields/wood.py", COMPONENT.format(name="wood"))
    _write(tmp_path / "shields/iron/__init__.py", COMPONENT.format(name="iron"))
    _write(tmp_path / "shields/_helper.py", "raise AssertionError")
    _write(tmp_path / "shields/test_wood.py", "raise AssertionError")
    assert list(shields) == ["iron", "wood"]
    assert not shields.broken


def test_a_folder_that_hides_the_package_is_named(shields, tmp_path, monkeypatch):
    other = _write(tmp_path / "elsewhere/shields/__init__.py", "")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{other.parent} hides the folder .*; rename it, start the command in another"):
        list(shields)


def test_a_broken_file_costs_its_own_components_alone(shields, tmp_path):
    _write(tmp_path / "shields/wood.py", COMPONENT.format(name="wood"))
    broken = _write(tmp_path / "shields/iron.py", COMPONENT.format(name="iron") + "\nraise RuntimeError('rust')")
    message = "shields/iron.py fails to import: RuntimeError: rust; correct it, or move it out of shields/."
    assert list(shields) == ["wood"]
    assert select(shields, "wood")[0].name == "wood"
    assert list(shields.broken.values()) == [message]
    for words in ("iron", "all", "w*"):
        with pytest.raises(UserError, match=message):
            select(shields, words)
    with pytest.raises(UserError, match=message):
        load_plugin(broken)


def test_a_file_that_was_found_is_not_registered_twice_as_a_plug_in(shields, tmp_path):
    file = _write(tmp_path / "shields/wood.py", COMPONENT.format(name="wood"))
    load_plugin(file)
    assert shields["wood"].cls.__module__ == "shields.wood"


def test_a_built_in_may_be_given_as_a_plug_in():
    load_plugin(ROOT / "defenses/iss.py")
    assert defenses["iss-gray"].cls.__module__ == "defenses.iss"


def test_a_broken_entry_point_names_its_distribution(shields, monkeypatch, tmp_path):
    _write(tmp_path / "shields/wood.py", COMPONENT.format(name="wood"))
    points = [EntryPoint("far", "no_such_module", "no.group"), EntryPoint("own", "shields.wood", "no.group")]
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)
    assert list(shields) == ["wood"]
    (message,) = shields.broken.values()
    assert message.startswith(
        "shield plug-in 'far' (no_such_module, from unknown distribution) fails to import: Module"
    )
