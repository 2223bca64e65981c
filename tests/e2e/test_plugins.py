"""A user's own defense: scaffold, check, run; the README's plug-in."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from .conftest import TINY

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("kind", "name"), [("defense", "dvae"), ("attack", "em")])
def test_a_name_that_is_taken_is_refused_before_files_are_written(bench, tmp_path, kind, name):
    ended = bench("new", kind, name)
    assert ended.code == 2
    assert f"there is a {kind} {name!r} already; choose another name" in ended.err
    assert not list(tmp_path.glob("*.py"))


@pytest.mark.parametrize(
    ("kind", "options"), [("defense", []), ("defense", ["--during-training"]), ("attack", []), ("victim", [])]
)
def test_a_scaffold_passes_its_check_and_its_test(bench, tmp_path, kind, options):
    name = f"my-{kind}"
    made = bench("new", kind, name, *options)
    assert made.code == 0
    assert (ROOT / re.search(r"docs/\S+\.md", made.out)[0]).is_file()
    assert ("batch_loss" in (tmp_path / f"my_{kind}.py").read_text()) == bool(options)
    checked = bench("check", name, "--plugin", f"my_{kind}.py")
    assert checked.code == 0, checked.out
    assert "all contracts that apply hold" in checked.out
    assert ("note the board shows no paper" in checked.out) is (kind != "victim")
    test = [sys.executable, "-m", "pytest", "-q", f"test_my_{kind}.py", "-p", "no:cacheprovider"]
    ran = subprocess.run(test, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert bench("new", kind, name).code == 2, "it does not overwrite"


def test_the_plug_in_of_the_readme_runs(bench, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "@defenses.register" in block)
    name = re.search(r'@defenses\.register\("([^"]+)"', code)[1]
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    assert bench("check", name, "--plugin", "mine.py").code == 0
    ended = bench("run", "--attacks", "ops", "--defenses", name, *TINY, "--plugin", "mine.py")
    assert ended.code == 0, ended.err
    assert name in ended.out


_NOISY = '''"""noisy.py"""
from dataclasses import dataclass

import torch
from torch.nn import functional

from bench.registry import defenses


@defenses.register("noisy")
@dataclass(frozen=True)
class Noisy:
    """Train on noisy images."""

    def batch_loss(self, model, images_01, labels, ctx):
        noise = torch.randn(images_01.shape, generator=ctx.generator("noise"))
        return functional.cross_entropy(model(images_01 + 0.1 * noise), labels)
'''


def test_the_same_draws_at_every_batch_are_refused_with_the_remedy(bench, tmp_path):
    plugin = tmp_path / "noisy.py"
    plugin.write_text(_NOISY, encoding="utf-8")
    for command in (["check", "noisy"], ["run", "--attacks", "ops", "--defenses", "noisy", *TINY]):
        ended = bench(*command, "--plugin", "noisy.py")
        assert ended.code == 1, command
        assert "use ctx.stream('noise'), which continues its sequence" in ended.out.replace("\n", " ") + ended.err
        if command[0] == "check":
            assert "FAIL batch loss draws anew at every batch" in ended.out
            assert ended.out.endswith("\n1 broken\n")
    plugin.write_text(_NOISY.replace("ctx.generator", "ctx.stream"), encoding="utf-8")
    assert bench("check", "noisy", "--plugin", "noisy.py").code == 0
    assert bench("run", "--attacks", "ops", "--defenses", "noisy", *TINY, "--plugin", "noisy.py").code == 0


_FACES = '''"""faces.py: defenses that purify nothing."""
from dataclasses import dataclass, replace

from bench.registry import defenses


@defenses.register("longer", deterministic=True)
@dataclass(frozen=True)
class Longer:
    """Train one epoch more."""

    def change_recipe(self, recipe):
        return replace(recipe, epochs=recipe.epochs + 1)


@defenses.register("negative-view", deterministic=True)
@dataclass(frozen=True)
class NegativeView:
    """Judge on negatives."""

    def view(self, images_u8):
        return 255 - images_u8
'''


@pytest.mark.parametrize(
    ("defense", "contract", "acts"),
    [
        ("longer", "changed recipe is a recipe", {"trains_differently", "changes_recipe"}),
        ("negative-view", "view is a view", {"sees_test_images"}),
    ],
)
def test_a_defense_need_not_purify(bench, tmp_path, defense, contract, acts):
    (tmp_path / "faces.py").write_text(_FACES, encoding="utf-8")
    checked = bench("check", defense, "--plugin", "faces.py")
    assert checked.code == 0, checked.out
    assert f"  ok   {contract} (" in checked.out
    assert "  n/a  keeps shape and labels\n" in checked.out
    assert bench("run", "--attacks", "ops", "--defenses", defense, *TINY, "--plugin", "faces.py").code == 0
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").iterdir()]
    cells = {(cell["attack"]["name"], cell["defense"]["name"]): cell for cell in cells}
    cell, undefended = cells["ops", defense], cells["ops", "none"]
    assert {face for face, there in cell["defense"]["extra"].items() if there} == acts
    assert cell["costs"]["purify"]["wall_seconds"] == 0
    assert cell["scores"]["residual_poison_ratio"] == pytest.approx(1)
    assert len(cell["curve"]) == len(undefended["curve"]) + (defense == "longer")
    assert (cell["view_seconds"] is not None) == (defense == "negative-view")
    row = pd.read_csv(tmp_path / "results" / "leaderboard" / "cells.csv").set_index("key").loc[cell["key"]]
    assert row["purify_seconds"] == 0
    assert row["cost_seconds"] == pytest.approx(row["extra_train_seconds"] + (cell["view_seconds"] or 0))


_BLUR = '''"""blur.py"""
from dataclasses import dataclass

import torch
from torch.nn import functional

from bench.api import Budget, PartialPoison, map_images
from bench.registry import attacks


@attacks.register("blur")
@dataclass(frozen=True, kw_only=True)
class Blur(PartialPoison):
    """Convolve the images of every class with a kernel of its own."""

    @property
    def budget(self):
        return Budget("none")

    def poison(self, train, ctx):
        kernels = torch.rand(train.info.num_classes, 1, 3, 3, generator=ctx.generator("kernels"))
        kernels /= kernels.sum(dim=(2, 3), keepdim=True)

        def convolve(images_u8, rows):
            images = functional.pad(images_u8.float(), (1, 1, 1, 1), mode="replicate").transpose(0, 1)
            chosen = kernels[train.labels[rows]]
            return functional.conv2d(images, chosen, groups=len(chosen)).transpose(0, 1).round().byte()

        return map_images(train, convolve, ctx)
'''


def test_an_unknown_name_may_be_a_plug_ins(bench, tmp_path):
    def said(*command):
        ended = bench(*command)
        assert ended.code == 2
        return ended.err.replace("\n", " ")

    of_any = "If a file of yours defines it: --plugin FILE."
    assert of_any in said("check", "zzyzx")
    assert of_any in said("plan", "--defenses", "zzyzx")
    assert "--plugin" not in said("plan", "--defenses", "iss-jpg"), "there is a near name"
    (tmp_path / "filters.py").write_text(_NOISY.replace('"noisy"', '"iss-jpg"'), encoding="utf-8")
    (tmp_path / "zzyzx.py").write_text("", encoding="utf-8")
    assert "If filters.py defines it: --plugin filters.py." in said("plan", "--defenses", "iss-jpg")
    for command in (["check"], ["plan", "--attacks"], ["plan", "--defenses"], ["plan", "--victims"]):
        assert "If zzyzx.py defines it: --plugin zzyzx.py." in said(*command, "zzyzx"), command


def test_an_attack_without_a_norm_says_so_everywhere(bench, tmp_path):
    (tmp_path / "blur.py").write_text(_BLUR, encoding="utf-8")
    checked = bench("check", "blur", "--plugin", "blur.py")
    assert checked.code == 0, checked.out
    ran = bench("run", "--attacks", "blur,blur+ops", "--defenses", "iss-gray", *TINY, "--plugin", "blur.py")
    assert ran.code == 0, ran.err
    results = tmp_path / "results"
    cells = pd.read_csv(results / "leaderboard" / "cells.csv").set_index(["attack_selection", "defense"])
    for attack in ("blur", "blur+ops"):
        cell = cells.loc[attack, "iss-gray"]
        assert cell["budget"] == "no norm bound"
        assert 10 < cell["score_poison_psnr_db"] < 40
        assert 0.2 < cell["score_poison_ssim"] < 0.99
        assert cell["score_poison_ssim_images"] == 64
        assert pd.isna(cell["score_poison_at_bound_share"])
        (manifest,) = (results / "artifacts" / "poison").glob(f"*/{cell['poison_key']}/manifest.json")
        assert json.loads(manifest.read_text())["payload"]["budget"] == "no norm bound"
        page = (results / "leaderboard" / "index.html").read_text(encoding="utf-8")
        shown = f"(no norm bound; PSNR {cell['score_poison_psnr_db']:.1f} dB; SSIM {cell['score_poison_ssim']:.2f})"
        assert shown in page
        assert "no norm bound" in bench("show", cell["key"]).out.replace("\n", " ")


_FALLS = '''"""Falls."""
import sys
from dataclasses import dataclass, replace

from bench.errors import UserError
from bench.registry import attacks, defenses


@defenses.register("brief", deterministic=True)
@dataclass(frozen=True)
class Brief:
    """Train for one epoch."""

    def change_recipe(self, recipe):
        return replace(recipe, epochs=1)


@defenses.register("falls", deterministic=True)
@dataclass(frozen=True)
class Falls:
    """Falls in every face."""

    def purify(self, train, ctx):
        return self.helper(train)

    def helper(self, train):
        raise ValueError("no such image")

    def batch_loss(self, model, images_01, labels, ctx):
        sys.exit(3)

    def view(self, images_u8):
        raise UserError("the file is missing")

    def change_recipe(self, recipe):
        return replace(recipe, epochs=0)


@attacks.register("no-budget", deterministic=True)
@dataclass(frozen=True)
class NoBudget:
    """Cannot say its budget."""

    @property
    def budget(self):
        raise RuntimeError("not known yet")

    def poison(self, train, ctx):
        return train
'''


def test_what_a_plug_in_raises_in_a_check_is_a_sentence_with_its_own_lines(bench, tmp_path):
    (tmp_path / "falls.py").write_text(_FALLS, encoding="utf-8")
    ended = bench("check", "falls", "--plugin", "falls.py")
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    assert "raises ValueError: no such image\n       falls.py:24, in purify: return self.helper(train)" in ended.out
    assert "raises SystemExit: 3\n" in ended.out
    assert "raises UserError: the file is missing\n" in ended.out
    assert "change_recipe fails for a recipe with epochs 60, schedule cosine-epoch, warmup_epochs 0.0: " in ended.out
    assert "bench/" not in ended.out
    assert "  ok   " not in ended.out
    ended = bench("check", "no-budget", "--plugin", "falls.py")
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    assert "FAIL respects its budget" in ended.out
    assert "raises RuntimeError: not known yet\n       falls.py:46, in budget: " in ended.out


def test_a_recipe_that_a_defense_cannot_change_is_said_by_the_plan(bench, tmp_path):
    """One epoch is fine for victims without warm-up; that of others does not fit into it."""
    (tmp_path / "falls.py").write_text(_FALLS, encoding="utf-8")
    assert bench("check", "brief", "--plugin", "falls.py").code == 0
    words = ["--attacks", "ops", "--defenses", "brief", *TINY, "--plugin", "falls.py",
             "--victims", "linear:epochs=2,small-cnn:preset=fast"]  # fmt: skip
    ended = bench("plan", *words)
    assert ended.code == 2
    assert (
        "defense 'brief' with victim 'small-cnn:preset=fast': change_recipe fails for a recipe with epochs 30, "
        in ended.err
    )
    assert "warmup_epochs must be >= 0 and less than epochs, got 2 of 1; whoever shortens" in ended.err
    planned = bench("plan", *words, "--skip-impossible")
    assert planned.code == 0, planned.err
    assert "skipped, 2 cells: defense 'brief' with victim" in planned.out


def test_a_defense_that_does_nothing_is_refused_with_what_it_could_do(bench, tmp_path):
    idle = _FACES.replace("def view", "def veiw").replace("def change", "def chance")
    (tmp_path / "faces.py").write_text(idle, encoding="utf-8")
    ended = bench("check", "longer", "--plugin", "faces.py")
    assert ended.code == 2
    assert "defense 'longer': Longer does nothing; give it at least one of purify(train, ctx), batch_loss(" in ended.err
    assert "change_recipe(recipe), view(images_u8)" in ended.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "runs", "does_not_apply"),
    [
        ("jpeg", "ignores its seed if deterministic", ["view is a view", "batch loss is a loss"]),
        ("cutout", "batch loss is a loss", ["keeps shape and labels", "changed recipe is a recipe"]),
    ],
)
def test_a_check_says_which_contracts_do_not_apply(bench, name, runs, does_not_apply):
    lines = bench("check", name).out.splitlines()
    assert any(line.startswith(f"  ok   {runs} (") for line in lines)
    for contract in does_not_apply:
        assert f"  n/a  {contract}" in lines
