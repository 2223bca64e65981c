"""`make gpu` at toy size: slices that resume and repeat, targets, and the page made from the file."""

from pathlib import Path

import pytest
import torch

from bench.errors import UserError
from bench.measure.cost import device_name
from bench.select import presets
from bench.select.matrix import make_matrix
from gpu import cells, rates, report
from gpu.command import main
from gpu.scale import FULL, TOY
from gpu.targets import targets

ROOT = Path(__file__).parents[2]
NAMES = [name for name in (*rates.SLICES, *cells.names(TOY)) if not name.endswith("-graph")]  # a CPU has no graphs
ENVIRONMENT = {"device": "card", "torch": "2", "cuda": "13", "python": "3.12"}
CARD = "NVIDIA H200"
COST = {"phases": {"fit": 1.0}, "wall_seconds": 2.0, "energy_joules": 900.0, "device": CARD}


def run(store, *options):
    """Exit code of `python -m gpu --toy` with this store."""
    with pytest.raises(SystemExit) as left:
        main(["--toy", "--store", str(store), *options], standalone_mode=False)
    return int(left.value.code)


def entry(**content):
    return {"asked": {"scale": "full"}, "environment": ENVIRONMENT, "seconds": 1.0, **content}


def rate(per_second):
    return entry(rate={"per_second": per_second, "cost": COST})


def cell(attack="none", defense="none", train=50.0, purify=0.0, images=50_000, device=CARD, **changes):
    phases = {"warm": 20.0, "change_recipe": 1.0, "train": train - 1, "evaluate": 3.0}
    costs = {
        "purify": {"wall_seconds": purify, "phases": {}, "device": device},
        "train": {"wall_seconds": train + 3, "phases": phases, "device": device},
    }
    return {
        "status": "done",
        "preset": "paper",
        "dataset": "cifar10",
        "attack": attack,
        "defense": defense,
        "victim": "resnet18",
        "seed": 0,
        "train_images": images,
        "test_images": 10_000,
        "clean_test_accuracy": 0.9412,
        "costs": costs,
        "artifacts": {stage: f"{stage}-{attack}-{defense}" for stage in costs},
        **changes,
    }


@pytest.mark.slow
def test_toy_slices_run_and_repeat(tmp_path, capsys):
    wanted = ["rates/training", "rates/dvae", "rates/at", "rates/pgd", "demo/none/none/0", "demo/lsp/iss/0"]
    assert run(tmp_path, *(word for name in wanted for word in ("--slice", name))) == 0
    slices = report.read(tmp_path / "gpu.json")
    assert set(slices) == set(wanted)
    assert all(slices[name]["rate"]["per_second"] > 0 for name in wanted[:4])
    assert [c["defense"] for c in slices["demo/lsp/iss/0"]["cells"]] == ["iss-gray", "iss-jpeg", "iss-bdr"]
    assert all(c["attack"] == "lsp" and c["status"] == "done" for c in slices["demo/lsp/iss/0"]["cells"])
    assert "Toy sizes" in capsys.readouterr().out
    assert run(tmp_path, "--slice", "demo/lsp/iss/0") == 0
    assert report.read(tmp_path / "gpu.json")["demo/lsp/iss/0"]["cells"] == slices["demo/lsp/iss/0"]["cells"], (
        "from store"
    )


def asked():
    """Of a toy run here; the device's name has the number of threads, which other tests change."""
    device = device_name(torch.device("cpu"))
    return {"scale": "toy", "data": TOY.data, "engine": "eager", "precision": "float32", "device": device}


def test_a_run_without_names_does_what_the_file_lacks_and_what_was_asked_otherwise(tmp_path, monkeypatch):
    """Failures, and slices of another scale, card, data set or engine; the engine of a rate is its own."""

    def measured(scale, device, precision):
        return {"per_second": 7.0, "cost": COST}

    def trained(name, scale, place):
        return [cell(victim="again")]

    monkeypatch.setattr(rates, "SLICES", dict.fromkeys(rates.SLICES, measured))
    monkeypatch.setattr(cells, "run_slice", trained)
    of_a_rate = {name: asked()[name] for name in ("scale", "device", "precision")}
    for name in NAMES:
        content = (
            {"cells": [cell()], "asked": asked()} if name not in rates.SLICES else {**rate(1.0), "asked": of_a_rate}
        )
        report.merge(tmp_path / "gpu.json", name, entry(**content))
    changes = {
        "rates/at": {"error": "Broken"},
        "rates/dvae": {"asked": {**of_a_rate, "device": "another"}},
        "rates/pgd": {"asked": {**of_a_rate, "scale": "full"}},
        "rates/training": {"asked": {**of_a_rate, "precision": "bfloat16"}},
        "demo/lsp/iss/0": {"asked": {**asked(), "data": "another"}},
        "demo/em/iss/0": {"asked": {**asked(), "engine": "compile"}},
        "demo/ar/iss/0": {"asked": {**asked(), "device": "another"}},
    }
    for name, change in changes.items():
        report.merge(tmp_path / "gpu.json", name, {**report.read(tmp_path / "gpu.json")[name], **change})
    assert run(tmp_path) == 0
    found = report.read(tmp_path / "gpu.json")
    again = {
        n for n, e in found.items() if e.get("rate", {}).get("per_second") == 7.0 or "again" in str(e.get("cells"))
    }
    assert again == set(changes)
    assert all(found[name]["asked"] == (of_a_rate if name in rates.SLICES else asked()) for name in NAMES)


def test_a_store_of_another_engine_is_refused_before_anything_runs(tmp_path):
    slices = ("--slice", "demo/none/none/0")
    assert run(tmp_path, *slices) == 0
    before = (tmp_path / "gpu.json").read_text()
    here = device_name(torch.device("cpu"))
    with pytest.raises(UserError, match="--store") as refused:
        main(["--toy", "--store", str(tmp_path), *slices, "--engine", "compile"], standalone_mode=False)
    assert f"from '{here}, float32'" in str(refused.value)
    assert f"on '{here}, float32, compiled'" in str(refused.value)
    assert (tmp_path / "gpu.json").read_text() == before


def test_a_failing_slice_is_recorded_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def broken(scale, device, precision):
        raise MemoryError("no room\nand a page of reasons")

    monkeypatch.setitem(rates.SLICES, "rates/training", broken)
    assert run(tmp_path, "--slice", "rates/training", "--slice", "rates/pgd") == 1
    slices = report.read(tmp_path / "gpu.json")
    assert slices["rates/training"]["error"] == "MemoryError: no room"
    assert "rate" in slices["rates/pgd"]
    assert "Failed: `rates/training` (MemoryError: no room)." in capsys.readouterr().out


def test_a_slice_that_is_impossible_here_is_its_own_error_and_no_data_is_everybodys(tmp_path, monkeypatch):
    def possible(name, scale, place):
        if "/em/" in name:
            raise UserError("attack 'em' needs 40 GB, and there are 16\n--skip-impossible runs the rest of the matrix")
        return [cell()]

    monkeypatch.setattr(cells, "run_slice", possible)
    assert run(tmp_path, "--slice", "demo/em/none/0", "--slice", "demo/ops/none/0") == 1
    slices = report.read(tmp_path / "gpu.json")
    assert slices["demo/em/none/0"]["error"] == "attack 'em' needs 40 GB, and there are 16"
    assert slices["demo/ops/none/0"]["cells"]
    with pytest.raises(UserError, match=r"nothing\.npz"):
        main(["--toy", "--store", str(tmp_path), "--data", f"npz:{tmp_path}/nothing.npz"], standalone_mode=False)
    assert report.read(tmp_path / "gpu.json") == slices


def test_no_slice_begins_after_the_time(tmp_path, capsys):
    assert run(tmp_path, "--minutes", "-1") == 0
    assert f"{len(NAMES)} slices left" in capsys.readouterr().out


def test_an_unknown_slice_and_a_missing_card_are_named(tmp_path):
    with pytest.raises(UserError, match="no slice matches 'rates/nothing'"):
        main(["--toy", "--slice", "rates/nothing"], standalone_mode=False)


def test_targets_by_hand():
    slices = {
        "rates/training": rate(50_000.0),
        "rates/at": rate(10_000.0),
        "paper/lsp/dvae/0": entry(cells=[cell("lsp", "dvae", purify=100.0)]),
        "paper/ar/dvae/0": entry(cells=[cell("ar", "dvae", purify=200.0)]),
        "fast/lsp/dvae/0": entry(cells=[cell("lsp", "dvae", purify=4.0, images=5_000)]),
    }
    training, paper, fast, adversarial, table = targets(slices)
    assert (training.seconds, training.verdict) == (60.0, "met")
    assert training.basis == "estimated from rates/training"
    assert (paper.seconds, paper.verdict, paper.basis) == (200.0, "not met", "measured")
    assert (fast.seconds, fast.verdict, fast.basis) == (40.0, "met", "scaled from 5,000 images")
    assert (adversarial.seconds, adversarial.verdict) == (500.0, "met")
    assert (table.seconds, table.verdict) == (None, "not measured")
    measured = targets({**slices, "paper/none/none/0": entry(cells=[cell()])})[0]
    assert (measured.seconds, measured.basis) == (50.0, "measured"), (
        "training and its recipe, without rehearsal and evaluation"
    )


def test_only_the_card_of_the_targets_is_judged():
    """The same seconds elsewhere are shown, with the card."""
    slices = {"rates/at": rate(1e6), "paper/none/none/0": entry(cells=[cell(device="NVIDIA L4, compiled")])}
    found = targets(slices)
    assert (found[0].seconds, found[0].verdict) == (50.0, "other card")
    assert found[3].verdict == "met"
    shown = report.render(slices)
    assert "Targets for an H200:" in shown
    assert "| other card | measured on NVIDIA L4, compiled |" in shown
    assert "| whole table, `paper` (poisons crafted with `fast` settings), one seed | 3600 |" in shown


def test_accuracies_say_mean_seeds_device_and_what_is_unvalidated(monkeypatch):
    slices = {
        f"fast/none/none/{seed}": entry(
            cells=[cell(preset="fast", seed=seed, clean_test_accuracy=0.9 + 0.01 * seed, device="card, compiled")]
        )
        for seed in (0, 2)
    }
    shown = report.render(slices)
    assert "| none | 91.0 (2) |" in shown
    assert (
        "`fast` (unvalidated), cifar10, resnet18, seeds 0, 2, n = 10,000 test images per cell, on card, compiled."
        in shown
    )
    monkeypatch.setattr(presets, "unvalidated", frozenset)
    assert "(unvalidated)" not in report.render(slices)


def test_the_whole_table_counts_every_artifact_once():
    wanted = [name for name in cells.names(FULL) if name.startswith("paper/")]
    shared = {"artifacts": {"purify": "p", "train": "t"}}
    slices = {name: entry(cells=[cell(train=100.0, purify=20.0, **shared)]) for name in wanted}
    assert targets(slices)[-1].seconds == 123.0


def test_toy_and_failed_slices_meet_no_target():
    toy = {"rates/at": {**rate(1e9), "asked": {"scale": "toy"}}, "rates/training": {**rate(1e9), "error": "Broken"}}
    assert {target.verdict for target in targets(toy)} == {"not measured"}


def test_the_page_is_what_the_file_says():
    page = (ROOT / "docs/measurements.md").read_text(encoding="utf-8")
    section = page.split(report.BEGIN)[1].split(report.END)[0].strip()
    assert section == report.render(report.read(ROOT / "docs/gpu.json")).strip(), "run python -m gpu --render"


def test_rendering_replaces_the_section_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_section(page, {"rates/at": rate(1234.0), "paper/none/none/0": entry(cells=[cell()])})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| adversarial training, ten steps | 1,234 | - | - | 450 | NVIDIA H200 |" in text
    assert "| none | 94.1 (1) | 0.0 |" in text
    page.write_text("no marks")
    with pytest.raises(UserError, match="marks"):
        report.write_section(page, {})


def test_operations_of_the_papers_network():
    """0.556 billion multiply-adds forward (by arithmetic), twice that backward but for the first layer's input."""
    model = rates._victim(FULL).build(rates.INFO)
    assert rates.operations_per_image(model) == pytest.approx(2 * (3 * 0.5558e9 - 1.77e6), rel=0.002)


@pytest.mark.parametrize("scale", [FULL, TOY], ids=lambda scale: scale.name)
def test_a_slice_is_its_own_cells_and_nothing_else(scale):
    sizes = {"none": 1, "dvae": 1, "iss": 3, "at": 1}
    for name in cells.names(scale, seeds=2):
        preset, attack, defense, seed = name.split("/")
        matrix = make_matrix([cells.settings_of(name, scale, scale.data)], baselines=False)
        assert [chosen.name for chosen in matrix.attacks] == [attack]
        assert len(matrix.defenses) == sizes[defense]
        assert (matrix.preset, matrix.seeds) == (preset, (int(seed),))


def test_both_presets_are_judged_on_the_same_poisons():
    for attack in FULL.attacks:
        settings = [cells.settings_of(f"{preset}/{attack}/none/0", FULL, "shapes") for preset in FULL.presets]
        texts = {make_matrix([layer], baselines=False).attacks[0].full_text for layer in settings}
        assert len(texts) == 1


def test_slices_are_ordered_by_value():
    """A card lent for a quarter of an hour: what crafts in seconds, then EM and TAP, then AT, then REM."""
    found = [name for name in cells.names(FULL, seeds=2) if name.endswith("/0")]
    assert found == cells.names(FULL), "a seed is finished before the next begins"
    ranks = [
        3 if attack == "rem" else 2 if defense == "at" else 1 if attack in ("em", "tap") else 0
        for _, attack, defense, _ in (name.split("/") for name in found)
    ]
    assert ranks == sorted(ranks)
    assert found[:3] == ["paper/none/none/0", "paper/none/dvae/0", "paper/none/iss/0"]
    assert "fast/lsp/at/0" in found
    assert "paper/lsp/at/0" not in found, "longer than a slice"


def test_every_slice_has_its_words():
    assert set(rates.SLICES) == set(report._WHAT)
    assert len(set(NAMES)) == len(NAMES)
