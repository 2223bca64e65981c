"""`bench verify`: cells come out again, and a folder that was changed is refused by file and field."""

import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cli.verify import print_reruns
from bench.portable.checks import check_export
from bench.portable.folder import json_bytes
from bench.portable.reading import read_export
from bench.portable.rerun import Rerun, chosen_cells
from bench.portable.sources import source_notes
from bench.run.prepare import Options

from .folders import PLUGIN, accuracy, hash_again, perfect, rewrite


def test_an_exported_folder_passes_its_check(bench, made):
    ended = bench("verify", made / "export", "--plugin", made / "export" / "plugins" / "halve_x.py")
    assert (ended.code, ended.err) == (0, "")
    assert "6 cells, 6 finished; 14 artifacts" in ended.out
    assert "note" not in ended.out
    assert "defenses of its plug-ins: halve-x\nother defenses: iss-gray, none\n" in ended.out
    assert "command: bench run --attacks lsp --defenses halve-x,iss-gray --plugin halve_x.py" in ended.out


def test_cells_come_out_again(bench, made, tmp_path):
    plugin = made / "export" / "plugins" / "halve_x.py"
    ended = bench("verify", made / "export", "--rerun", "all", "--plugin", plugin)
    assert ended.code == 0, ended.out
    assert ended.out.count("agrees: ") == 6
    assert ended.out.count("difference +0.0 points (allowed: none, both are deterministic on one device)") == 6
    assert ended.out.endswith("6 of 6 cells agree\n")
    assert "computed again: halve-x (2 of 2 cells), iss-gray (2 of 2 cells), none (2 of 2 cells)\n" in ended.out
    assert "another source" not in ended.out
    for _ in range(2):
        ended = bench(
            "verify", made / "export", "--rerun", "1", "--sample-seed", "3", "--store", "s", "--plugin", plugin
        )
        assert ended.code == 0
        assert ended.out.endswith("1 of 1 cell agree\n")
        assert "computed again: halve-x (1 of 2 cells)\nnot computed again, no cell of: iss-gray, none\n" in ended.out
    assert len(list((tmp_path / "s" / "cells").iterdir())) == 1
    own = bench("verify", made / "export", "--rerun", "1", "--store", made / "results", "--plugin", plugin)
    assert "holds the exported results themselves" in own.err
    assert "give a number of cells from 1, or all" in bench("verify", made / "export", "--rerun", "0").err


def test_an_accuracy_forged_with_all_that_follows_from_it_does_not_come_out_again(forged, bench, made, tmp_path):
    problems, file = forged(perfect)
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


def in_manifest(stage, change):
    return lambda cell, folder, manifest: rewrite(manifest(stage), change)


def in_both(cell, folder, manifest):
    cell["costs"]["purify"]["wall_seconds"] = -1.0
    rewrite(manifest("purify"), lambda value: value["cost"].update(wall_seconds=-1.0))


def recipe_of_both(cell, folder, manifest):
    cell["victim"]["extra"]["recipe"]["lr"] = 9.0
    rewrite(manifest("train"), lambda value: value["payload"]["recipe"].update(lr=9.0))


def more_poisoned_images(cell, folder, manifest):
    cell["scores"]["poisoned_images"] = 65
    rewrite(manifest("poison"), lambda value: value["payload"]["scores"].update(poisoned_images=65))


def more_test_images(cell, folder, manifest):
    cell["test_images"] = cell["dataset"]["test_images"] = 64
    cell["dataset"].update(spec="npz:path=shapes.npz")
    rewrite(manifest("train"), lambda value: value["payload"].update(test_images=64))


def perfect_with_the_predictions_of_others(cell, folder, manifest):
    perfect(cell, folder, manifest)
    own = manifest("train")
    other = next(path for path in folder.glob("artifacts/train/*/*/manifest.json") if path != own)
    checksum = json.loads(other.read_text())["checksum"]
    rewrite(own, lambda value: value.update(checksum=checksum))


def device_of_costs(cell, folder, manifest):
    for stage, cost in cell["costs"].items():
        cost["device"] = "NVIDIA H100, float32, deterministic"
        rewrite(manifest(stage), lambda value, cost=cost: value.update(cost=cost))


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
    "name of a defense": (
        lambda cell, *_: cell["defense"].update(name="dvae", text="dvae"),
        "defense.text: 'dvae' does not select preimage's 'halve-x:test_view=false'",
    ),
    "name without its text": (
        lambda cell, *_: cell["attack"].update(name="tap"),
        "attack.name: 'tap', its text begins",
    ),
    "text of another parameter": (
        lambda cell, *_: cell["victim"].update(text="linear:epochs=60"),
        "victim.text: 'linear:epochs=60' does not select preimage's 'linear:preset=demo",
    ),
    "name of a data set": (
        lambda cell, *_: cell["dataset"].update(name="cifar10"),
        "dataset.name: 'cifar10', dataset.spec 'shapes:train=64:test=32' gives 'shapes'",
    ),
    "training images": (
        lambda cell, *_: cell["dataset"].update(train_images=500),
        "dataset.train_images: 500, 'shapes:train=64:test=32' has 64",
    ),
    "shape": (lambda cell, *_: cell["dataset"].update(shape=[3, 64, 64]), "dataset.shape: [3, 64, 64], 'shapes"),
    "selection of a data set": (
        lambda cell, *_: cell["dataset"].update(spec="shapes:trian=64"),
        "dataset.spec: dataset 'shapes' has no parameter 'trian'",
    ),
    "poisoned images": (more_poisoned_images, "scores.poisoned_images: 65, the data set has 64 training images"),
    "test images": (more_test_images, "data_bytes: 216 is not that of payload.test_images (64) predictions"),
    "predictions": (perfect_with_the_predictions_of_others, "with the same predictions"),
    "family": (lambda cell, *_: cell["attack"].update(family="iss"), "attack.family: 'iss', this checkout has ''"),
    "paper": (lambda cell, *_: cell["attack"].update(source="arXiv:1"), "attack.source: 'arXiv:1', this checkout has"),
    "knowledge": (lambda cell, *_: cell["victim"].update(uses=["x"]), "victim.uses: ['x'], this checkout has []"),
    "budget": (
        lambda cell, *_: cell["attack"]["extra"].update(budget="linf 1/255"),
        "attack.extra.budget: 'linf 1/255', the manifests have",
    ),
    "recipe of the cell": (
        lambda cell, *_: cell["victim"]["extra"]["recipe"].update(lr=9.0),
        "victim.extra.recipe: is not payload.recipe",
    ),
    "recipe of the manifest": (
        in_manifest("train", lambda m: m["payload"]["recipe"].update(lr=9.0)),
        "victim.extra.recipe: is not payload.recipe",
    ),
    "recipe of both": (recipe_of_both, "victim.extra.recipe: {"),
    "device": (device_of_costs, "cost.device: 'NVIDIA H100, float32, deterministic' is not device, precision"),
    "determinism": (
        in_manifest("train", lambda m: m["environment"].update(deterministic=False)),
        "is not device, precision and determinism of environment",
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


def test_a_strict_check_accepts_no_note(bench, made):
    ended = bench("verify", made / "export", "--strict")
    assert ended.code == 1
    assert "note: defense halve-x: " in ended.out
    assert "1 note, and --strict accepts none" in ended.out
    plugin = made / "export" / "plugins" / "halve_x.py"
    assert bench("verify", made / "export", "--strict", "--plugin", plugin).code == 0
    assert "task: none that all cells are of" in ended.out


def test_a_plug_in_of_a_folder_that_was_changed_is_not_imported(bench, made, tmp_path):
    shutil.copytree(made / "export", tmp_path / "forged")
    plugin = tmp_path / "forged" / "plugins" / "halve_x.py"
    plugin.write_text(f"{PLUGIN}\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n")
    assert bench("verify", "forged", "--plugin", plugin).code == 1
    assert not (tmp_path / "ran").exists()


def test_nothing_to_compute_again_is_no_agreement(made, capsys):
    empty = replace(read_export(made / "export"), cells={})
    assert print_reruns(empty, 5, 0, Options(), None) == 1
    assert "no cell of the folder is finished" in capsys.readouterr().out


def test_a_sample_takes_plug_ins_then_defenses_then_the_undefended(made):
    export = read_export(made / "export")
    for seed in range(3):
        drawn = [(cell.defense.name, cell.attack.name) for cell in chosen_cells(export, 5, seed)]
        assert [defense for defense, _ in drawn] == ["halve-x", "halve-x", "iss-gray", "iss-gray", "none"]
        assert [attack for _, attack in drawn] == ["lsp", "none"] * 2 + ["lsp"], "a defense is for poisons"
    cell = chosen_cells(export, 1, 0)[0]
    alike = replace(export, cells={key: replace(cell, key=key) for key in "abcdef"})
    assert len({chosen_cells(alike, 1, seed)[0].key for seed in range(9)}) > 1, "else the submitter knows the draw"


def test_a_cell_of_another_source_does_not_agree_unasked(made, capsys, monkeypatch):
    export = read_export(made / "export")
    cell = chosen_cells(export, 1, 0)[0]
    found = Rerun(cell, replace(cell, artifacts=cell.artifacts | {"train": "0" * 64}))
    monkeypatch.setattr("bench.cli.verify.run_again", lambda *_: iter([found]))
    assert print_reruns(export, 1, 0, Options(), None) == 1
    assert "ANOTHER SOURCE: " in (told := capsys.readouterr().out)
    assert told.endswith("0 of 1 cell agree\n")
    assert print_reruns(export, 1, 0, Options(), None, other_source=True) == 0


def test_a_plug_in_that_imports_the_repository_is_not_passed_in_silence(made, tmp_path):
    shutil.copytree(made / "export", tmp_path / "forged")
    plugin = tmp_path / "forged" / "plugins" / "halve_x.py"
    plugin.write_text(PLUGIN.replace("from halving", "from defenses.iss import Gray\nfrom halving"))
    hash_again(tmp_path / "forged")
    export = read_export(tmp_path / "forged")
    assert check_export(export) == []
    assert [note for note in source_notes(export) if "imports files of this repository, and with those of" in note]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda index: index.update(plugins=[]), "defense halve-x: neither this checkout nor a plug-in in export.json"),
        (
            lambda index: index["plugins"][0]["components"].update({"defense dvae": "0"}),
            "defense dvae is a component of this repository; a plug-in needs another name",
        ),
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
