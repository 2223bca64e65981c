"""Results that travel without tensors: the real commands on one tiny run."""

import json
import sys
from pathlib import Path

import pytest

from bench.cli.main import main

from .conftest import TINY

PLUGIN = '''"""A defense of a stranger, with a helper next to it."""
from dataclasses import dataclass

from bench.api import Filter
from bench.registry import defenses
from halving import half


@defenses.register("halve-x", deterministic=True)
@dataclass(frozen=True)
class Halve(Filter):
    """Halve all values."""

    def apply(self, images_u8):
        return half(images_u8)
'''
WORDS = ["run", "--attacks", "lsp", "--defenses", "halve-x,iss-gray", "--plugin", "halve_x.py", *TINY]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a plug-in and the store of its run, `results`, exported as `export`."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "halve_x.py").write_text(PLUGIN)
    (folder / "halving.py").write_text("def half(images_u8):\n    return images_u8 // 2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for words in (WORDS, ["export", "--out", "export"]):
            patch.setattr(sys, "argv", ["bench", *words])
            with pytest.raises(SystemExit) as stop:
                main()
            assert stop.value.code == 0
        yield folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_exported_folder_is_small_and_names_all_that_is_in_it(bench, made):
    files = contents(made / "export")
    index = json.loads(files.pop("export.json"))
    assert set(index["files"]) == set(files)
    assert len([name for name in files if name.startswith("cells/")]) == 6
    assert not [name for name in files if name.endswith(".safetensors")]
    assert sum(map(len, files.values())) < 200_000
    assert [plugin["file"] for plugin in index["plugins"]] == ["plugins/halve_x.py"]
    assert list(index["plugins"][0]["components"]) == ["defense halve-x"]
    assert files["plugins/halve_x.py"].decode() == PLUGIN
    assert "plugins/halving.py" in files
    assert not [name for name, content in files.items() if str(made).encode() in content], "no folder of a machine"


def test_the_same_store_gives_the_same_bytes_and_a_choice_of_cells_less(bench, made, tmp_path):
    for _ in range(2):
        ended = bench("export", "--store", made / "results", "--out", "again")
        assert ended.code == 0, ended.err
        assert "again: 6 cells, 6 finished" in ended.out
        assert contents(tmp_path / "again") == contents(made / "export")
    key = next((made / "export" / "cells").iterdir()).stem
    assert bench("export", key[:6], "--store", made / "results", "--out", "one", "--tensors").code == 0
    files = contents(tmp_path / "one")
    assert [name for name in files if name.startswith("cells/")] == [f"cells/{key}.json"]
    assert sum(name.endswith("data.safetensors") for name in files) == 3
    assert "no cell begins with 'zzz'" in bench("export", "zzz", "--store", made / "results", "--out", "none").err
    (tmp_path / "one" / "mine.txt").touch()
    assert "no export wrote (mine.txt)" in bench("export", "--store", made / "results", "--out", "one").err


def test_the_site_of_an_exported_folder_is_that_of_its_store_without_pictures(bench, made, tmp_path):
    for store in ("results", "export"):
        ended = bench("publish", "--store", made / store, "--out", store)
        assert ended.code == 0, ended.err
    whole, without = contents(tmp_path / "results"), contents(tmp_path / "export")
    assert [name for name in whole if name.startswith("sheets/")]
    assert not [name for name in without if name.startswith("sheets/")]
    for name in whole.keys() - {"site.json"}:
        if not name.startswith(("cells/", "sheets/")):
            assert whole[name] == without[name], name
        elif name.startswith("cells/"):
            one, other = (json.loads(found[name].decode()[9:-3]) for found in (whole, without))
            assert all(cell.pop("sheet") for cell in one.values())
            assert all(cell.pop("sheet", 0) is None for cell in other.values())
            assert one == other
    again = ["run", "--attacks", "lsp", "--defenses", "iss-gray", *TINY, "--store", made / "export"]
    assert "is an exported folder, in which nothing is computed" in bench(*again).err


def test_a_plug_in_that_was_changed_is_not_exported(bench, made, tmp_path):
    (tmp_path / "halve_x.py").write_text(PLUGIN.replace("Halve all", "Halve"))
    ended = bench("export", "--store", made / "results", "--out", "changed", "--plugin", "halve_x.py")
    assert "defense halve-x: its source is" in ended.err
    assert not (tmp_path / "changed").exists()
    bench("list", "defenses", "--plugin", made / "halve_x.py")  # the registry of this process has the first again
