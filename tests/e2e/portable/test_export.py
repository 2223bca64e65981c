"""Results that travel without tensors: the real `bench export`, `publish` and `merge` on one tiny run."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.methods import methods
from bench.errors import UserError
from bench.portable.checks import check_export
from bench.portable.folder import json_bytes
from bench.portable.merge import choose, write_merged
from bench.portable.reading import read_export
from leaderboard.site.methods import Method
from tests.e2e.conftest import TINY

from .folders import FORGED, PLUGIN, contents, hash_again, perfect, rewrite


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
    (*_, data) = datas = sorted((tmp_path / "one").rglob("data.safetensors"))
    assert len(datas) == 3
    assert check_export(read_export(tmp_path / "one")) == []
    data.write_bytes(data.read_bytes()[:-1])
    hash_again(tmp_path / "one")
    assert "/manifest.json: checksum: " in check_export(read_export(tmp_path / "one"))[0]
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
        if name == "cells/names.js" or not name.startswith(("cells/", "sheets/")):
            assert whole[name] == without[name], name
        elif name.startswith("cells/"):
            one, other = (json.loads(found[name].decode()[9:-3]) for found in (whole, without))
            assert all(cell.pop("sheet") for cell in one.values())
            assert all(cell.pop("sheet", 0) is None for cell in other.values())
            assert one == other
    again = ["run", "--attacks", "lsp", "--defenses", "iss-gray", *TINY, "--store", made / "export"]
    assert "is an exported folder, in which nothing is computed" in bench(*again).err


def test_a_plug_in_of_a_folder_is_described_and_not_executed(tmp_path):
    (tmp_path / "plugins").mkdir()
    text = PLUGIN.replace("halve-x", "halve-y").replace("deterministic", 'source="arXiv:2301.13838", deterministic')
    (tmp_path / "plugins" / "halve_y.py").write_text(f"{text}\nraise SystemExit('executed')\n")
    (tmp_path / "plugins" / "broken.py").write_text("def (\n")
    found = {method.name: method for method in methods([tmp_path])}
    words = {"description": "Halve all values.", "heading": "A defense of a stranger, with a helper next to it."}
    assert found["halve-y"] == Method("defense", "halve-y", "arXiv:2301.13838", **words)
    assert "halve-y" not in {method.name for method in methods()}


def test_a_plug_in_that_was_changed_is_not_exported(bench, made, tmp_path):
    (tmp_path / "halve_x.py").write_text(PLUGIN.replace("Halve all", "Halve"))
    ended = bench("export", "--store", made / "results", "--out", "changed", "--plugin", "halve_x.py")
    assert "defense halve-x: its source is" in ended.err
    assert not (tmp_path / "changed").exists()
    bench("list", "defenses", "--plugin", made / "halve_x.py")  # the registry of this process has the first again


def part(made: Path, out: Path, keep, change=lambda stage, cost, environment: None) -> Path:
    """A copy of the exported folder with the cells that `keep` takes, and every record changed likewise.

    `change` gets a stage, and its cost and its environment in the manifest or in the cell.
    """
    shutil.copytree(made / "export", out)
    used = set()
    for path in (out / "cells").iterdir():
        cell = json.loads(path.read_text())
        if keep(cell["attack"]["name"], cell["defense"]["name"]):
            used |= set(cell["artifacts"].values())
            for stage in cell["costs"]:
                change(stage, cell["costs"][stage], cell["provenance"])
            path.write_bytes(json_bytes(cell))
        else:
            path.unlink()
    for path in out.glob("artifacts/*/*/*"):
        if path.name in used:
            rewrite(path / "manifest.json", lambda m: change(m["stage"], m["cost"], m["environment"]))
        else:
            shutil.rmtree(path)
    hash_again(out)
    return out


def test_folders_of_two_machines_are_merged(bench, made, tmp_path):
    def on_another_machine(stage, cost, environment):
        environment["device"] = "Other"
        cost["device"] = "Other, float32, deterministic"

    one = part(made, tmp_path / "one", lambda attack, defense: defense != "halve-x")
    other = part(made, tmp_path / "other", lambda attack, defense: defense != "iss-gray", on_another_machine)
    assert check_export(read_export(one)) == check_export(read_export(other)) == []
    ended = bench("merge", one, other, "--out", "one")
    assert ended.code == 0, ended.out + ended.err
    assert "one: 6 cells; 2 left out\n" in ended.out
    merged = read_export(one)
    assert check_export(merged) == []
    devices = {(cell.defense.name, cost.device) for cell in merged.cells.values() for cost in cell.costs.values()}
    here = next(iter(read_export(made / "export").cells.values())).costs["train"].device
    assert devices == {("none", here), ("iss-gray", here), ("halve-x", "Other, float32, deterministic")}
    assert sorted(len(of) for of in merged.manifests.values()) == [1] * 8 + [2] * 6, "poisons and undefended, twice"
    assert bench("publish", "--store", "one", "--out", "site").code == 0
    rows = json.loads((tmp_path / "site" / "leaderboard.json").read_text())["rows"]
    assert {row["defense"] for row in rows} == {"none", "iss-gray", "halve-x"}
    assert all(row["cost_multiple"] for row in rows), "each is compared with the undefended training of its machine"
    assert bench("merge", "one", other, "--out", "again").code == 0
    again = read_export(tmp_path / "again")
    assert check_export(again) == []
    assert sorted(map(len, again.manifests.values())) == [1] * 8 + [2] * 6, "a merged folder keeps both"


def test_complete_rows_stay_complete_unless_the_board_is_extended(bench, made, tmp_path):
    """Clean data plays the part of the attack that the first folder does not have."""
    first = part(made, tmp_path / "first", lambda attack, defense: attack == "lsp")
    before = contents(first)
    more = part(made, tmp_path / "more", lambda attack, defense: attack == "none" and defense != "iss-gray")
    ended = bench("merge", first, more, "--out", "first")
    assert ended.code == 2
    assert "1 row of " in ended.err
    assert re.search(r"They lack:\n.* iss-gray / linear\S*: seed 0: none\n", ended.err)
    assert contents(first) == before
    rest = part(made, tmp_path / "rest", lambda attack, defense: attack == "none")
    assert bench("merge", first, more, rest, "--out", "all").code == 0, "the result of all folders counts"
    assert bench("merge", first, more, "--out", "first", "--extend").code == 0
    assert len(read_export(first).cells) == 5


def test_folders_that_disagree_are_not_merged(bench, made, forged, tmp_path):
    before = next(c for c in read_export(made / "export").cells.values() if (c.attack.name, c.defense.name) == FORGED)
    forged(perfect)
    folders = ("merge", made / "export", "forged", "--out", "both")
    ended = bench(*folders)
    assert f"their accuracies differ ({before.clean_test_accuracy} and 1.0)" in ended.err
    assert not (tmp_path / "both").exists()
    assert bench(*folders, "--first-wins").code == 0
    assert contents(tmp_path / "both") == contents(made / "export")
    (tmp_path / "forged" / "plugins" / "halving.py").write_text("def half(x):\n    return x\n")
    hash_again(tmp_path / "forged")
    assert "plugins/halve_x.py: is not the source" in bench(*folders, "--first-wins").out


def test_of_a_submission_one_defense_is_taken_with_the_undefended(bench, made, tmp_path):
    ended = bench("merge", made / "export", "--out", "own", "--only", "halve-x")
    assert ended.code == 0, ended.err
    assert "own: 4 cells; 2 left out\n" in ended.out
    own, submission = read_export(tmp_path / "own"), read_export(made / "export")
    assert check_export(own) == []
    assert {cell.defense.name for cell in own.cells.values()} == {"halve-x", "none"}
    assert len(choose([submission, own], only=["halve-x"])) == 6, "the cells of the board are not left out"
    with pytest.raises(UserError, match=r"--only dvae: .* has no such defense; it has halve-x, iss-gray, none"):
        choose([own, submission], only=["dvae"])


def test_a_corrected_plug_in_replaces_its_cells(made, tmp_path):
    """Cells are those of the first version; what matters here is which source they name."""
    corrected = shutil.copytree(made / "export", tmp_path / "corrected")
    (corrected / "plugins" / "halve_x.py").write_text("# corrected")
    rewrite(corrected / "export.json", lambda index: index["plugins"][0]["components"].update({"defense halve-x": "0"}))
    folders = [read_export(made / "export"), read_export(corrected)]
    some = replace(folders[0], cells={path: c for path, c in folders[0].cells.items() if c.attack.name == "lsp"})
    with pytest.raises(UserError, match=r"plugins/halve_x.py: another folder has another file .* --replace DEFENSE"):
        write_merged([some, folders[1]], choose([some, folders[1]]), tmp_path / "both")
    assert write_merged(folders, choose(folders, replaced=["halve-x"]), tmp_path / "both") == []
    merged = read_export(tmp_path / "both")
    assert (merged.root / "plugins" / "halve_x.py").read_text() == "# corrected"
    assert merged.index.plugins[0].components == {"defense halve-x": "0"}
    (corrected / "plugins" / "halve_x.py").rename(corrected / "plugins" / "other.py")
    rewrite(corrected / "export.json", lambda index: index["plugins"][0].update(file="plugins/other.py"))
    hash_again(corrected)
    folders = [some, read_export(corrected)]
    with pytest.raises(UserError, match="defense halve-x: the folders computed it with different sources; --replace"):
        write_merged(folders, choose(folders), tmp_path / "neither")
    with pytest.raises(UserError, match="--replace nothing: no folder has this defense; they have halve-x"):
        choose(folders, replaced=["nothing"])
