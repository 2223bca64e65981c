"""Clean images mixed into the training set: kept from attacks by the data set, given to who declares them."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from bench import run_matrix
from bench.api import Recipe
from bench.check.contracts import checks_of
from bench.datasets import loading
from bench.errors import ContractError, UserError
from bench.plan.describe import faces
from bench.portable.checks import check_export
from bench.portable.coordinates import chain
from bench.portable.export import export as write_export
from bench.portable.reading import read_export
from bench.registry import Entry, defenses
from bench.run.prepare import Options, prepared
from bench.select.settings import Settings
from bench.select.spec import Selected, select
from bench.stages.clean_images import with_clean_images
from bench.store.artifacts import Store
from bench.training import Batches

KEEPING = "shapes:train=96:test=32:clean=40"


@pytest.fixture(scope="module")
def keeping():
    return loading.load(KEEPING, Path())


def test_the_embedded_set_draws_clean_images_besides(keeping, tiny):
    assert keeping.digests[:2] == tiny.digests
    seen = {image.numpy().tobytes() for part in (keeping.train, keeping.test) for image in part.images}
    assert not seen & {image.numpy().tobytes() for image in keeping.clean.images}
    assert len(tiny.digests) == 2


def test_the_victim_gets_them_after_the_given_images(keeping, make_context):
    given = replace(keeping.train, images=255 - keeping.train.images)
    before = given.images.clone()
    mixed = with_clean_images(given, keeping, 20, make_context())
    assert torch.equal(mixed.images[:96], before)
    assert torch.equal(given.images, before)
    assert torch.equal(mixed.labels[:96], given.labels)
    kept = {
        image.numpy().tobytes(): label
        for image, label in zip(keeping.clean.images, keeping.clean.labels.tolist(), strict=True)
    }
    added = mixed.take(torch.arange(96, 116))
    assert [kept[image.numpy().tobytes()] for image in added.images] == added.labels.tolist()
    assert torch.bincount(added.labels).tolist() == [2] * 10, "each class by its share"
    again = with_clean_images(given, keeping, 20, make_context())
    assert torch.equal(mixed.images, again.images)
    other = with_clean_images(given, keeping, 20, make_context(seed=1))
    assert not torch.equal(mixed.images, other.images)


def test_squeezed_images_keep_their_ratios(keeping, make_context):
    train, clean = (
        replace(part, aspect_ratios=torch.full((len(part),), ratio))
        for part, ratio in ((keeping.train, 0.5), (keeping.clean, 2.0))
    )
    mixed = with_clean_images(train, replace(keeping, clean=clean), 10, make_context())
    assert mixed.aspect_ratios.tolist() == [0.5] * 96 + [2.0] * 10


def test_it_is_a_longer_training_with_declared_data():
    (selected,) = select(defenses, "clean-mix:30")
    assert selected.component.change_recipe(Recipe()) == replace(Recipe(), clean_images=30)
    assert {face for face, there in faces(selected.component).items() if there} == {
        "changes_recipe",
        "trains_differently",
    }
    assert selected.entry.uses == ("clean-data",)
    for check in checks_of("defenses", selected)[1:]:  # without fresh processes
        check(selected, loading.load("shapes:train=96:test=32", Path()))
    with pytest.raises(UserError, match="images must be at least 1"):
        select(defenses, "clean-mix:0")
    assert "clean-mix" not in [one.name for one in select(defenses, "all")], "it needs a number and a data set"


def test_a_defense_that_does_not_declare_them_gets_none():
    @dataclass(frozen=True)
    class Taking:
        """Takes clean images."""

        def change_recipe(self, recipe: Recipe) -> Recipe:
            return replace(recipe, clean_images=5)

    selected = Selected("taking", Entry("taking", Taking), Taking(), {})
    check = checks_of("defenses", selected)[-1]
    with pytest.raises(ContractError, match=r'5 clean images, .* register it with uses=\("clean-data",\)'):
        check(selected, loading.load(KEEPING, Path()))


def test_a_run_trains_on_them(tmp_path, monkeypatch):
    sizes, of_recipe = [], Batches.of_recipe
    monkeypatch.setattr(
        Batches, "of_recipe", lambda train, *rest: (sizes.append(len(train)), of_recipe(train, *rest))[1]
    )
    frame = run_matrix(
        "none", "clean-mix:images=20", "linear:epochs=1", preset="demo", dataset=KEEPING, store=tmp_path / "s"
    )
    assert frame.status.tolist() == ["done", "done"]
    assert sorted(sizes) == [96, 116]
    assert sorted(frame.uses) == ["", "clean-data"]
    (mixed,) = frame[frame.defense == "clean-mix"].key
    write_export(Store(tmp_path / "s"), [mixed], tmp_path / "export", lambda cell: cell)
    export = read_export(tmp_path / "export")
    assert check_export(export) == []
    (cell,) = export.cells.values()
    found = {stage: next(iter(export.manifests[stage, key].values())) for stage, key in cell.artifacts.items()}
    other = replace(found["train"], preimage=found["train"].preimage | {"clean": ["of other images"]})
    (problem,) = chain(cell, found | {"train": other})
    assert problem.startswith("artifacts.train: its clean is")


@pytest.fixture
def keys(tmp_path):
    """Keys of the jobs of a cell with OPS, by stage: `keys(defense, clean images of the data set)`."""

    def plan(defense: str, clean: int) -> dict[str, str]:
        settings = Settings("demo", f"shapes:train=96:test=32:clean={clean}", "ops", defense, "linear:epochs=1")
        with prepared([settings], Options(tmp_path / "s", device="cpu", baselines=False), runs=False) as ready:
            (cell,) = ready.plan.cells
            return cell.jobs

    return plan


def test_the_key_holds_the_clean_images_of_who_declares_them(keys):
    assert keys("none", 40) == keys("none", 0)
    assert keys("early-stop", 40) == keys("early-stop", 0)
    mixed, other = keys("clean-mix:images=20", 40), keys("clean-mix:images=20", 41)
    assert {stage for stage in mixed if mixed[stage] != other[stage]} == {"train"}
    assert mixed["poison"] == keys("none", 0)["poison"]


def test_too_few_kept_images_are_found_before_any_work(keys):
    with pytest.raises(UserError, match=r"adds 41 clean images, and the data set keeps 40 .*: shapes:clean=41"):
        keys("clean-mix:images=41", 40)
    with pytest.raises(UserError, match="the data set keeps 0"):
        keys("iss-gray+clean-mix:images=5", 0)
