"""Results that travel without tensors: the real commands on one tiny run."""

import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cli.main import main
from bench.portable.checks import check_export
from bench.portable.folder import json_bytes, manifest_path
from bench.portable.reading import read_export

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
FORGED = ("lsp", "halve-x")
WORDS = [
    "run",
    "--attacks",
    "lsp",
    "--defenses",
    "halve-x,iss-gray",
    "--plugin",
    "halve_x.py",
    *TINY,
    "--deterministic",
]


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


def test_a_plug_in_that_was_changed_is_not_exported(bench, made, tmp_path):
    (tmp_path / "halve_x.py").write_text(PLUGIN.replace("Halve all", "Halve"))
    ended = bench("export", "--store", made / "results", "--out", "changed", "--plugin", "halve_x.py")
    assert "defense halve-x: its source is" in ended.err
    assert not (tmp_path / "changed").exists()
    bench("list", "defenses", "--plugin", made / "halve_x.py")  # the registry of this process has the first again


def test_an_exported_folder_passes_its_check(bench, made):
    ended = bench("verify", made / "export", "--plugin", made / "export" / "plugins" / "halve_x.py")
    assert (ended.code, ended.err) == (0, "")
    assert "6 cells, 6 finished; 14 artifacts" in ended.out
    assert "note" not in ended.out
    assert "command: bench run --attacks lsp --defenses halve-x,iss-gray --plugin halve_x.py" in ended.out


def test_cells_come_out_again(bench, made, tmp_path):
    plugin = made / "export" / "plugins" / "halve_x.py"
    ended = bench("verify", made / "export", "--rerun", "all", "--plugin", plugin)
    assert ended.code == 0, ended.out
    assert ended.out.count("agrees: ") == 6
    assert ended.out.count("difference +0.0 points (allowed: none, both are deterministic on one device)") == 6
    assert ended.out.endswith("6 of 6 cells agree\n")
    assert "another source" not in ended.out
    for _ in range(2):
        ended = bench(
            "verify", made / "export", "--rerun", "1", "--sample-seed", "3", "--store", "s", "--plugin", plugin
        )
        assert ended.code == 0
        assert ended.out.endswith("1 of 1 cell agree\n")
    assert len(list((tmp_path / "s" / "cells").iterdir())) == 1
    own = bench("verify", made / "export", "--rerun", "1", "--store", made / "results", "--plugin", plugin)
    assert "holds the exported results themselves" in own.err
    assert "give a number of cells from 1, or all" in bench("verify", made / "export", "--rerun", "0").err


def test_an_accuracy_forged_with_all_that_follows_from_it_does_not_come_out_again(forged, bench, made, tmp_path):
    def change(cell, folder, manifest):
        accuracy(1.0, 1)(cell, folder, manifest)
        rewrite(
            manifest("train"), lambda m: m["payload"].update({n: cell[n] for n in ("curve", "clean_test_accuracy")})
        )

    problems, file = forged(change)
    assert problems == []
    for path in (tmp_path / "forged").glob("cells/*.json"):
        if path.name != file:
            path.unlink()
    for path in (tmp_path / "forged").glob("artifacts/*/*/*"):
        if path.name not in (tmp_path / "forged" / "cells" / file).read_text():
            shutil.rmtree(path)
    hash_again(tmp_path / "forged")
    ended = bench("verify", "forged", "--rerun", "1", "--plugin", made / "export" / "plugins" / "halve_x.py")
    assert ended.code == 1, ended.out
    assert "DIFFERS: " in ended.out
    assert ended.out.endswith("0 of 1 cell agree\n")


def test_a_plug_in_is_imported_only_if_it_is_given(bench, made, tmp_path):
    shutil.copytree(made / "export", tmp_path / "forged")
    plugin = tmp_path / "forged" / "plugins" / "halve_x.py"
    plugin.write_text(f"open('imported', 'w')\n{PLUGIN}")
    hash_again(tmp_path / "forged")
    ended = bench("verify", "forged")
    assert ended.code == 1
    assert "plugins/halve_x.py: is not the source that cells of defense halve-x were computed with" in ended.out
    assert not (tmp_path / "imported").exists()
    bench("verify", "forged", "--plugin", plugin)
    assert (tmp_path / "imported").exists()
    (tmp_path / "forged" / "plugins" / "halving.py").write_text("def half(")
    hash_again(tmp_path / "forged")
    assert "no Python source (SyntaxError)" in bench("verify", "forged").out


def rewrite(path: Path, change) -> None:
    """Changes a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_bytes(json_bytes(value))


def hash_again(folder: Path) -> None:
    """Puts the sha256 of every file into the index, as a careful forger would."""
    files = {name: sha256(content).hexdigest() for name, content in contents(folder).items() if name != "export.json"}
    rewrite(folder / "export.json", lambda index: index.update(files=files))


@pytest.fixture
def forged(made, tmp_path):
    """`forged(change)`: problems of a copy in which the finished cell of lsp and halve-x was changed.

    `change` gets the cell as a dict, the folder, and the path of the manifest of a stage.
    """
    folder = tmp_path / "forged"
    shutil.copytree(made / "export", folder)

    def call(change, again=True):
        cells = {path: json.loads(path.read_text()) for path in (folder / "cells").iterdir()}
        ((path, cell),) = (
            item for item in cells.items() if (item[1]["attack"]["name"], item[1]["defense"]["name"]) == FORGED
        )
        artifacts = dict(cell["artifacts"])
        change(cell, folder, lambda stage: folder / manifest_path(stage, artifacts[stage]))
        path.write_bytes(json_bytes(cell))
        if again:
            hash_again(folder)
        return check_export(read_export(folder)), path.name

    return call


def part(made: Path, out: Path, keep, change=lambda stage, value: None) -> Path:
    """A copy of the exported folder with the cells that `keep` takes, and every record changed likewise.

    `change` gets a stage, and its manifest or the cell's part of it.
    """
    shutil.copytree(made / "export", out)
    used = set()
    for path in (out / "cells").iterdir():
        cell = json.loads(path.read_text())
        if keep(cell["attack"]["name"], cell["defense"]["name"]):
            used |= set(cell["artifacts"].values())
            for stage in cell["costs"]:
                change(stage, cell["costs"][stage])
            path.write_bytes(json_bytes(cell))
        else:
            path.unlink()
    for path in out.glob("artifacts/*/*/*"):
        if path.name in used:
            rewrite(path / "manifest.json", lambda m: change(m["stage"], m["cost"]))
        else:
            shutil.rmtree(path)
    hash_again(out)
    return out


def test_folders_of_two_machines_are_merged(bench, made, tmp_path):
    def on_another_machine(stage, cost):
        cost["device"] = "Other"

    one = part(made, tmp_path / "one", lambda attack, defense: defense != "halve-x")
    other = part(made, tmp_path / "other", lambda attack, defense: defense != "iss-gray", on_another_machine)
    assert check_export(read_export(one)) == check_export(read_export(other)) == []
    ended = bench("merge", one, other, "--out", "one")
    assert ended.code == 0, ended.out + ended.err
    assert "one: 6 cells; 2 left out, which an earlier folder has" in ended.out
    merged = read_export(one)
    assert check_export(merged) == []
    devices = {(cell.defense.name, cost.device) for cell in merged.cells.values() for cost in cell.costs.values()}
    here = next(iter(read_export(made / "export").cells.values())).costs["train"].device
    assert devices == {("none", here), ("iss-gray", here), ("halve-x", "Other")}
    assert sorted(len(of) for of in merged.manifests.values()) == [1] * 12 + [2, 2], "both poisons, measured twice"
    assert bench("publish", "--store", "one", "--out", "site").code == 0
    rows = json.loads((tmp_path / "site" / "leaderboard.json").read_text())["rows"]
    assert {row["defense"] for row in rows} == {"none", "iss-gray", "halve-x"}


def test_folders_that_disagree_are_not_merged(bench, made, forged, tmp_path):
    def change(cell, folder, manifest):
        accuracy(1.0, 1)(cell, folder, manifest)
        rewrite(
            manifest("train"), lambda m: m["payload"].update({n: cell[n] for n in ("curve", "clean_test_accuracy")})
        )

    before = next(c for c in read_export(made / "export").cells.values() if (c.attack.name, c.defense.name) == FORGED)
    forged(change)
    folders = ("merge", made / "export", "forged", "--out", "both")
    ended = bench(*folders)
    assert f"their accuracies differ ({before.clean_test_accuracy} and 1.0)" in ended.err
    assert not (tmp_path / "both").exists()
    assert bench(*folders, "--first-wins").code == 0
    assert contents(tmp_path / "both") == contents(made / "export")
    (tmp_path / "forged" / "plugins" / "halving.py").write_text("def half(x):\n    return x\n")
    hash_again(tmp_path / "forged")
    assert "plugins/halve_x.py: is not the source" in bench(*folders, "--first-wins").out


def accuracy(value, points=0):
    def change(cell, folder, manifest):
        cell["clean_test_accuracy"] = value
        if points:
            cell["curve"][-1]["clean_test_accuracy"] = value

    return change


def in_manifest(stage, change):
    return lambda cell, folder, manifest: rewrite(manifest(stage), change)


def in_both(cell, folder, manifest):
    cell["costs"]["purify"]["wall_seconds"] = -1.0
    rewrite(manifest("purify"), lambda value: value["cost"].update(wall_seconds=-1.0))


FORGERIES = {
    "accuracy": (accuracy(0.5), "clean_test_accuracy: 0.5, the curve ends at"),
    "accuracy with its curve": (accuracy(0.5, 1), "clean_test_accuracy: 0.5, the manifests have"),
    "accuracy of no images": (accuracy(0.123, 1), "clean_test_accuracy: 0.123 of 32 images is 3.936 images"),
    "accuracy above 1": (accuracy(1.5), "clean_test_accuracy 1.5 of a cell that is done"),
    "cost": (lambda cell, *_: cell["costs"]["train"].update(wall_seconds=1e-6), "costs.train: is not what the manif"),
    "cost below zero": (in_both, "costs.purify.wall_seconds: -1.0, and no cost is below 0"),
    "key": (lambda cell, *_: cell.update(seed=7), "seed: 7, preimage has 0"),
    "key of others": (
        lambda cell, *_: cell["preimage"].__setitem__(0, "paper"),
        "does not follow from preimage, whose key is",
    ),
    "parameters": (
        lambda cell, *_: cell["attack"]["parameters"].update(eps=0.5),
        "attack.parameters: are not those of",
    ),
    "no manifest": (lambda cell, folder, manifest: manifest("train").unlink(), "artifacts: artifacts/train/"),
    "another epoch": (
        in_manifest("poison", lambda m: m["preimage"].update(schema_epoch=4)),
        "preimage.schema_epoch: 4",
    ),
    "another source": (
        in_manifest("purify", lambda m: m["preimage"]["component"].update(source="0" * 64)),
        "key: '",
    ),
    "another input": (
        lambda cell, *_: cell["artifacts"].update(poison=cell["artifacts"]["purify"]),
        "artifacts: artifacts/poison/",
    ),
    "shorter training": (
        in_manifest("train", lambda m: m["payload"]["recipe"].update(epochs=1)),
        "payload.recipe.epochs: is not the number of points",
    ),
    "unknown field": (lambda cell, *_: cell.update(rank=1), "rank: is no field"),
    "text for number": (lambda cell, *_: cell.update(seed="0"), "seed: Input should be a valid integer"),
    "missing field": (lambda cell, *_: cell.pop("victim"), "victim: Field required"),
    "cell of another name": (lambda cell, *_: cell.update(key="0" * 20), "does not follow from preimage"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_folder_is_refused_by_file_and_field(forged, name):
    change, told = FORGERIES[name]
    problems, file = forged(change)
    assert any(told in problem for problem in problems), problems
    assert any(file in problem or "/manifest.json: " in problem for problem in problems)


def test_a_changed_file_is_refused_by_its_hash(forged, bench, tmp_path):
    problems, file = forged(lambda cell, *_: cell["provenance"].update(command="bench run"), again=False)
    assert [problem for problem in problems if problem.startswith(f"cells/{file}: sha256: ")]
    ended = bench("verify", "forged")
    assert ended.code == 1
    assert f"refused: cells/{file}: sha256: " in ended.out
    assert "forged: 1 problem" in ended.out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda index: index.update(schema_epoch=3), "export.json: schema_epoch: 3, this release checks"),
        (lambda index: index.update(format=9), "export.json: format: 9"),
        (lambda index: index["files"].update({"../../etc/passwd": "0"}), "'../../etc/passwd': is missing"),
        (lambda index: index["plugins"][0].update(file="../x.py"), "plugins.0.file: '../x.py' is no file of plugins/"),
        (lambda index: index["plugins"][0]["components"].update({"defense halve-x": "0"}), "with another source"),
        (lambda index: index.pop("files"), "export.json: files: is missing"),
    ],
)
def test_a_forged_index_is_refused(made, tmp_path, change, told):
    shutil.copytree(made / "export", tmp_path / "forged")
    rewrite(tmp_path / "forged" / "export.json", change)
    assert any(told in problem for problem in check_export(read_export(tmp_path / "forged")))


def test_links_and_files_from_elsewhere_are_not_read(made, tmp_path):
    folder = tmp_path / "forged"
    shutil.copytree(made / "export", folder)
    (tmp_path / "secret.json").write_text("{}")
    (folder / "cells" / f"{'a' * 20}.json").symlink_to(tmp_path / "secret.json")
    (folder / "plugins" / "away").symlink_to(tmp_path)
    (folder / "evil.pkl").write_bytes(b"x")
    (folder / "plugins" / "\x1b[31m.py").touch()
    with (folder / "store.json").open("wb") as file:
        file.truncate(2 << 20)
    export = read_export(folder)
    assert not export.cells
    told = "\n".join(export.problems)
    assert f"'cells/{'a' * 20}.json': is no plain file" in told
    assert "'plugins/away': is no plain file" in told
    assert "'evil.pkl': is no file of an exported folder" in told
    assert r"'plugins/\x1b[31m.py': is no file" in told
    assert "store.json: is larger than 1 MiB" in told
    link = tmp_path / "link"
    link.symlink_to(made / "export")
    assert "is a link" in read_export(link).problems[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"key": 1, "key": 2}', "'key' stands twice"),
        ('{"key": 1e999}', "1e999 is not a finite number"),
        ("\xff", "codec can't decode"),
        ("[]", "Input should be"),
    ],
)
def test_a_text_that_is_no_cell_is_refused(made, tmp_path, text, told):
    folder = tmp_path / "forged"
    shutil.copytree(made / "export", folder)
    path = next((folder / "cells").iterdir())
    path.write_bytes(text.encode("latin-1"))
    hash_again(folder)
    assert any(told in problem for problem in check_export(read_export(folder)))


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_value_of_a_stranger_ends_the_check(made, tmp_path, data):
    """Any part of any JSON file is replaced by anything: the check ends without an exception, and refuses it."""
    folder = tmp_path / "forged"
    if not folder.exists():
        shutil.copytree(made / "export", folder)
    path = data.draw(st.sampled_from(sorted(folder.glob("[ac]*/**/*.json"))))
    before = path.read_bytes()
    value = [json.loads(before)]
    parent, name = value, 0
    for _ in range(data.draw(st.integers(0, 6))):
        inner = parent[name]
        if not isinstance(inner, dict | list) or not inner:
            break
        parent, name = inner, data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
    parent[name] = data.draw(st.sampled_from([None, True, 0, -1, 2.5, "", "a:b=c", [], {}, [[]]]))
    path.write_bytes(json_bytes(value[0]))
    problems = check_export(read_export(folder))
    assert problems or path.read_bytes() == before
    path.write_bytes(before)
