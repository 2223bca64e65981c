"""Errors before any work: exit code 2, no traceback, the value, the choices and the remedy."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from bench import run_matrix
from bench.datasets import loading
from bench.errors import UserError

from .conftest import TINY

BROKEN = '''
from dataclasses import dataclass, replace
import torch
from bench.api import Budget, Context, ImageSet
from bench.registry import attacks, defenses


@defenses.register("raises-{n}")
@dataclass(frozen=True)
class Raises:
    """Raises."""

    def purify(self, train, ctx):
        raise RuntimeError("no purification today")


@defenses.register("wrong-shape-{n}")
@dataclass(frozen=True)
class WrongShape:
    """Drops an image."""

    def purify(self, train, ctx):
        return train.take(torch.arange(len(train) - 1))


@defenses.register("changes-labels-{n}")
@dataclass(frozen=True)
class ChangesLabels:
    """Changes labels."""

    def purify(self, train, ctx):
        return replace(train, labels=(train.labels + 1) % train.info.num_classes)


@defenses.register("in-place-{n}")
@dataclass(frozen=True)
class InPlace:
    """Writes into its input."""

    def purify(self, train, ctx):
        train.images.numpy()[0] = 0
        return train


@defenses.register("returns-none-{n}")
@dataclass(frozen=True)
class ReturnsNone:
    """Forgets to return."""

    def purify(self, train, ctx):
        pass


@defenses.register("floats-{n}")
@dataclass(frozen=True)
class Floats:
    """Returns floats."""

    def purify(self, train, ctx):
        return replace(train, images=train.images / 255)


@attacks.register("too-loud-{n}")
@dataclass(frozen=True)
class TooLoud:
    """Exceeds its budget."""

    @property
    def budget(self):
        return Budget("linf", 4 / 255)

    def poison(self, train, ctx):
        return replace(train, images=train.images ^ 8)
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugins") / "broken.py"
    path.write_text(BROKEN.replace("{n}", "x"))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises-x", "RuntimeError in purify: no purification today"),
        ("wrong-shape-x", "returned images (63, 3, 32, 32), expected (64, 3, 32, 32)"),
        ("changes-labels-x", "changed 64 of 64 labels"),
        ("in-place-x", "modified its input in place"),
        ("returns-none-x", "returned NoneType, expected an ImageSet"),
        ("floats-x", "images must be uint8"),
    ],
)
def test_a_broken_defense_is_a_failed_cell_and_the_rest_goes_on(bench, plugin, name, message):
    ended = bench("run", "--attacks", "ops", "--defenses", f"{name},iss-bdr", *TINY, "--plugin", plugin)
    assert ended.code == 1
    assert message in ended.out
    assert ended.out.count("failed: ") == 1, "one reason"
    assert ", seed 0, and 1 more cell: " in ended.out, "with and without the attack"
    checked = bench("check", name, "--plugin", plugin)
    assert checked.code == 1
    assert "FAIL" in checked.out


def test_a_poison_above_its_budget_fails_everything_behind_it(bench, plugin):
    ended = bench("run", "--attacks", "too-loud-x", "--defenses", "iss-bdr", *TINY, "--plugin", plugin)
    assert ended.code == 1
    assert "exceeds its budget linf:4/255: linf 0.03137 > 0.01569 after rounding to 8 bits (image 0)" in ended.out


def test_failed_cells_are_tried_again(bench, plugin):
    run = ("run", "--attacks", "ops", "--defenses", "raises-x", *TINY, "--plugin", plugin)
    bench(*run)
    again = bench(*run)
    assert again.code == 1
    assert "computed now: 2 purify" in again.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attacks", "lspp"], "unknown attack 'lspp'; did you mean lsp?"),
        (["--defenses", "dvae:kdl=1"], "defense 'dvae' has no parameter 'kdl'"),
        (["--defenses", "jpeg:quality=0"], "quality must be in 1..100, got 0"),
        (["--defenses", "jpeg:quality=high"], "quality='high'"),
        (["--victims", "resnet81"], "unknown victim 'resnet81'; did you mean resnet"),
        (["--dataset", "npz:missing.npz"], "npz: no file missing.npz"),
        (["--preset", "dmeo"], "unknown preset 'dmeo'; did you mean demo?"),
        (["--seeds", "x"], "seeds 'x'"),
        (["--seeds", "99999999999999999999"], "a count is at most 10000; for one seed write '99999999999999999999,'"),
        (["--store", "caf\udce9"], "'caf\\udce9': has bytes that are not UTF-8, which results cannot hold; rename"),
        (["--threads", "99999999999"], "threads must be at most 10000, got 99999999999"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "tpu"], "'tpu'"),
        (["--executor", "slurm"], "unknown executor 'slurm'"),
        (["--executor", "local:gpus=9", "--device", "cpu"], "executor local: gpus=9"),
        (["--stage-timeout", "60"], "--stage-timeout needs jobs in processes of their own"),
        (["--stage-timeout", "0"], "0.0 is not in the range x>0"),
        (["--plugin", "."], "--plugin .: is a folder; give a file, "),
        (["--plugin", "nowhere.py"], "--plugin nowhere.py: no such file"),
        (["missing.toml"], "missing.toml: No such file"),
        (["--attacks", "from-file:path=nowhere.npz"], "nowhere.npz"),
        (["--attacks", "lsp:poison_rate=0"], "poison_rate must be in (0, 1]"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_bad_arguments(bench, tmp_path, arguments, message):
    ended = bench("run", "--preset", "demo", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("results/artifacts/*"))


def test_a_pickled_poison_is_answered_with_code_to_copy(bench, tmp_path):
    (tmp_path / "rem.pkl").write_bytes(pickle.dumps([1, 2]))
    ended = bench("run", "--preset", "demo", "--attacks", "from-file:rem.pkl")
    assert ended.code == 2
    first, *code = ended.err.splitlines()
    assert first.startswith("error: attack 'from-file': rem.pkl: is a pickle and is never unpickled")
    exec("\n".join(code), {})
    assert np.load("rem-converted.npy").tolist() == [1, 2]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 614400128\n"


def test_pointers_of_git_lfs_are_named(bench, tmp_path):
    for name in ("in/train/a/0.png", "in/test/a/0.png", "in/train/b/0.png", "in/test/b/0.png", "poison/0.png", "d.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(POINTER)
    for words, named in (
        (["--dataset", "npz:d.npz"], "npz: d.npz"),
        (["--dataset", "folder:in:size=8"], "folder: in/t"),
        (["--attacks", "from-file:poison"], "attack 'from-file:path=poison': poison/0.png"),
        (["--attacks", "from-file:d.npz"], "attack 'from-file:path=d.npz': d.npz"),
    ):
        ended = bench("run", "--attacks", "none", "--defenses", "none", *TINY, *words)
        assert ended.code == 2
        assert ended.err.startswith(f"error: {named}")
        assert "is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`" in ended.err


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("file", "Directory 'file' is a file"),
        ("file/data", "file is a file; name a folder with --data-root"),
        ("absent", "no folder in/train"),
    ],
)
def test_a_data_root_that_cannot_be_used(bench, tmp_path, root, message):
    (tmp_path / "file").touch()
    ended = bench(
        "run", "--attacks", "none", "--defenses", "none", *TINY, "--dataset", "folder:in", "--data-root", root
    )
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_a_data_root_that_is_a_file_is_refused_in_python_too(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data root .*file: .*file is a file"):
        run_matrix("none", "none", dataset="shapes:train=64:test=32", store=tmp_path / "s", data_root=tmp_path / "file")


def test_a_poison_folder_of_some_images_is_a_warning_of_the_run(bench, tmp_path):
    splits = loading.load("shapes:train=64:test=32", tmp_path)
    (tmp_path / "poison").mkdir()
    for row in (0, 5, 9):
        image = (splits.train.images[row] ^ 4).permute(1, 2, 0).numpy()
        Image.fromarray(image).save(tmp_path / "poison" / f"{row}.png")
    ended = bench("run", "--attacks", "from-file:poison", "--defenses", "none", *TINY)
    assert ended.code == 0, ended.err
    assert ended.err.count("poison holds 3 of 64 images; the others stay clean") == 1
    cells = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells").glob("*.json")]
    logs = next(cell["logs"]["poison"] for cell in cells if cell["attack"]["name"] == "from-file")
    assert (logs["images_in_file"], logs["changed_images"]) == ("3 of 64", 3)


def test_a_victim_that_cannot_take_the_images_is_refused_before_any_work(bench, tmp_path):
    ended = bench("run", "--preset", "demo", "--victims", "efficientformer_l1")
    assert ended.code == 2
    assert "cannot take 32x32 images" in ended.err
    assert not list(tmp_path.glob("results/artifacts/*"))


def test_a_plug_in_that_does_not_import_names_the_line(bench, tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\nimport no_such_module\n")
    ended = bench("run", "--preset", "demo", "--plugin", "bad.py")
    assert ended.code == 2
    assert "bad.py (line 2): fails to import: ModuleNotFoundError: No module named 'no_such_module'" in ended.err


def test_a_store_of_another_version_is_refused(bench, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "store.json").write_text('{"schema_version": 0}')
    ended = bench("run", "--attacks", "ops", "--defenses", "iss-bdr", *TINY)
    assert ended.code == 2
    assert "schema version 0" in ended.err


def test_labels_out_of_range_are_refused(bench, tmp_path):
    import numpy as np

    images = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "bad.npz", x_train=images, y_train=np.array([0, 1, -2, 1]), x_test=images, y_test=np.arange(4))
    ended = bench("run", "--preset", "demo", "--dataset", "npz:bad.npz")
    assert ended.code == 2
    assert "found -2" in ended.err


def test_a_defense_that_writes_into_its_input_spoils_no_other_cell(bench, plugin, tmp_path):
    import pandas as pd

    bench("run", "--attacks", "ops", "--defenses", "iss-bdr", *TINY, "--store", "alone")
    bench("run", "--attacks", "ops", "--defenses", "in-place-x,iss-bdr", *TINY, "--store", "beside", "--plugin", plugin)
    alone, beside = (
        pd.read_csv(tmp_path / s / "leaderboard" / "cells.csv").set_index("key") for s in ("alone", "beside")
    )
    assert (beside.loc[alone.index].train_key == alone.train_key).all()
    assert (beside.loc[alone.index].clean_test_accuracy == alone.clean_test_accuracy).all()


MORE = '''
import sys
from dataclasses import dataclass, replace
import torch
from bench.registry import defenses


@defenses.register("spoils-tests-x")
@dataclass(frozen=True)
class SpoilsTests:
    """Writes into the test images."""

    def purify(self, train, ctx):
        return train

    def view(self, images_u8):
        return images_u8.zero_()


@defenses.register("exits-x")
@dataclass(frozen=True)
class Exits:
    """Ends the process."""

    def purify(self, train, ctx):
        sys.exit(3)


@defenses.register("keeps-images-x")
@dataclass(frozen=True)
class KeepsImages:
    """Keeps under the result's own name."""

    def purify(self, train, ctx):
        ctx.keep("images", torch.zeros(2, 2))
        return train
'''


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spoils-tests-x", "the defense's view modified its input in place"),
        ("exits-x", "SystemExit in purify: 3"),
        ("keeps-images-x", "that name is the result's own"),
    ],
)
def test_more_broken_defenses_harm_only_themselves(bench, tmp_path, name, message):
    import pandas as pd

    (tmp_path / "more.py").write_text(MORE)
    ended = bench("run", "--attacks", "ops", "--defenses", f"{name},iss-bdr", *TINY, "--plugin", "more.py")
    bench("run", "--attacks", "ops", "--defenses", "iss-bdr", *TINY, "--store", "alone")
    assert ended.code == 1
    assert message in ended.out
    alone, beside = (pd.read_csv(tmp_path / s / "leaderboard/cells.csv").set_index("key") for s in ("alone", "results"))
    assert (beside.loc[alone.index].clean_test_accuracy == alone.clean_test_accuracy).all()


def test_test_labels_without_training_images_are_refused(bench, tmp_path):
    import numpy as np

    images = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "bad.npz", x_train=images, y_train=np.arange(4) % 2, x_test=images, y_test=np.arange(4))
    ended = bench("run", "--preset", "demo", "--dataset", "npz:bad.npz")
    assert ended.code == 2
    assert "missing in y_train: 2, 3" in ended.err


def test_an_edited_helper_of_a_plug_in_is_noticed(start, tmp_path):
    plugin = """
from dataclasses import dataclass, replace
import helper
from bench.registry import defenses


@defenses.register("helped-x", deterministic=True)
@dataclass(frozen=True)
class Helped:
    \"\"\"Uses a module beside it.\"\"\"

    def purify(self, train, ctx):
        return replace(train, images=train.images & helper.MASK)
"""
    (tmp_path / "helped.py").write_text(plugin)
    outputs = []
    for mask in (0xF0, 0xF0, 0x80):
        (tmp_path / "helper.py").write_text(f"MASK = {mask}\n")
        process = start("run", "--attacks", "ops", "--defenses", "helped-x", *TINY, "--plugin", "helped.py")
        outputs.append(process.communicate(timeout=120)[0])
    assert "computed now: nothing" in outputs[1]
    assert "computed now: 2 purify, 2 train" in outputs[2]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_precision_is_refused_with_the_choices(bench, command):
    ended = bench(command, "--precision", "float16", *TINY)
    assert ended.code == 2
    assert "'float16' is not one of 'auto', 'float32', 'bfloat16'" in ended.err
