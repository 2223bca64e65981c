"""Files of attacks are checked when the plan is made; all problems are reported at once."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from attacks.from_file import FromFile
from bench import run_matrix
from bench.datasets.splits import Splits
from bench.errors import UserError
from bench.plan.obstacles import find_obstacles
from bench.registry import defenses
from bench.select.matrix import Matrix
from bench.select.spec import Selected
from leaderboard.tables.flags import Flag


@pytest.fixture
def files(tiny: Splits, tmp_path) -> dict[str, str]:
    """Selections of files that fit, are too short, too loud, in another order, hold a part, or are damaged."""
    images = tiny.train.images
    levels = torch.randint(-8, 9, images.shape, generator=torch.Generator().manual_seed(0))
    poisoned = (images.short() + levels).clamp(0, 255).to(torch.uint8)
    loud = (images.short() + 2 * levels).clamp(0, 255).to(torch.uint8)
    for name, array in (("good", poisoned), ("short", poisoned[:-1]), ("loud", loud), ("turned", poisoned.roll(1, 0))):
        np.save(tmp_path / f"{name}.npy", array.numpy())
    np.savez(tmp_path / "part.npz", images=poisoned[10:30].numpy(), indices=np.arange(10, 30))
    (tmp_path / "damaged.npy").write_bytes(b"no array")
    return {path.stem: f"from-file:path={path}" for path in tmp_path.glob("*.np*")}


@pytest.fixture
def run(tmp_path):
    """The cells of a matrix of these attacks without defense."""

    def call(attacks: str, victims: str = "linear:epochs=1"):
        return run_matrix(
            attacks, "none", victims, preset="demo", dataset="shapes:train=96:test=32", store=tmp_path / "store"
        )

    return call


def test_all_problems_are_reported_before_any_work(files, run, tmp_path) -> None:
    expected = {
        files["short"]: "95 entries, the data set needs 96",
        files["loud"]: "exceeds its budget linf:8/255",
        files["turned"]: "in another order",
        files["damaged"]: "cannot be read as .npy",
        f"ar:coefficients={tmp_path}/good.npy": "must hold at least (10, 3, 3, 3) coefficients",
        "ops:classes=77": "there is no class 77",
        "efficientformer_l1": "cannot take",
    }
    *attacks, victim = expected
    with pytest.raises(UserError) as refused:
        run(",".join([files["good"], *attacks]), f"linear:epochs=1,{victim}")
    *lines, remedy = str(refused.value).splitlines()
    assert remedy == "--skip-impossible runs the rest of the matrix"
    assert len(lines) == len(expected)
    for line, (selection, text) in zip(lines, expected.items(), strict=True):
        assert f"{selection!r}: " in line
        assert text in line
    assert not list((tmp_path / "store").glob("artifacts/*"))


def test_a_pipe_is_refused_and_never_read(run, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(UserError, match=r"pipe\.npy' is a pipe, a device or a socket; copy its content"):
        run(f"from-file:path={tmp_path}/pipe.npy")


def test_a_file_within_a_chain_is_checked(files, run) -> None:
    with pytest.raises(UserError, match=r"attack 'ops\+from-file.*turned.*another order"):
        run(f"ops+{files['turned']}")


def test_a_poison_that_is_in_the_store_is_not_checked_again(files, run, monkeypatch) -> None:
    asked = []
    check_fit = FromFile.check_fit
    monkeypatch.setattr(FromFile, "check_fit", lambda self, train: (asked.append(self.path), check_fit(self, train)))
    for _ in range(2):
        run(files["good"])
        assert len(asked) == 1


def test_the_board_counts_the_images_of_a_part_and_says_that_it_did_not_take(files, run) -> None:
    frame = run(files["part"]).set_index("attack")
    assert frame.loc["from-file", "score_poisoned_images"] == 20
    assert Flag.NOT_TAKEN in frame.loc["from-file", "flags"]
    assert Flag.NOT_TAKEN not in frame.loc["none", "flags"]


def test_a_defense_is_asked_before_any_clock_runs_and_sees_black_images(tiny: Splits) -> None:
    seen = []

    @dataclass(frozen=True)
    class Fits:
        def check_fit(self, train) -> None:
            seen.append(train)

    defense = Selected("fits", defenses["none"], Fits(), {})
    assert find_obstacles(Matrix("shapes", (), (defense,), (), (0,), ""), tiny, ()) == {}
    (train,) = seen
    assert not train.images.any()
    assert train.images.shape == tiny.train.images.shape
    assert train.images.untyped_storage().nbytes() == 1
    assert torch.equal(train.labels, tiny.train.labels)
    assert train.info == tiny.train.info
