"""Verdicts on cells as this harness writes them: each published row is compared with cells of its own recipe."""

import hashlib

import numpy as np
import pytest
import torch

from attacks.ar import values_sha256
from bench.plan.describe import describe
from bench.registry import attacks, defenses
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.store.results import CellResult
from leaderboard.published.recipes import REFERENCE, alternatives, departures, recipe, recipe_rows
from leaderboard.published.values import Comparison, comparisons, measured_of, published_values
from leaderboard.tables.cell_rows import cell_row

AUTHORS_AR = "b5d36829e819111ce44edda69e60d1ceec2b9bc054c35544db2017ee6c3932bb"
IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257}


def verdicts(
    attack: str,
    defense: str = "none",
    victim: str = "resnet18",
    dataset: str = "cifar10",
    images: int | None = None,
    coefficients: str = "",
    preset: str = "paper",
) -> dict[str, Comparison]:
    """By source, of a cell with these selections (as `bench run` would select them) and the published accuracy."""
    settings = Settings(preset=preset, dataset=dataset, attacks=attack, defenses=defense, victims=victim)
    matrix = make_matrix([settings])
    kinds = {
        "attack": (matrix.attacks, attack),
        "defense": (matrix.defenses, defense),
        "victim": (matrix.victims, victim),
    }
    chosen = {
        kind: describe(next(one for one in found if one.name == text.partition(":")[0]))
        for kind, (found, text) in kinds.items()
    }
    cell = CellResult(
        key="k",
        status="done",
        preset=preset,
        dataset={
            "spec": dataset,
            "name": dataset,
            "digest": "d",
            "train_images": images or IMAGES[dataset],
            "test_images": 10_000,
            "num_classes": 10,
            "shape": [3, 32, 32],
        },
        **chosen,
        seed=0,
        clean_test_accuracy=0.5,
        logs={"poison": {"coefficients_sha256": coefficients}} if coefficients else {},
    )
    found = comparisons(measured_of(cell_row(cell), 0.5, None))
    return {one.published.source: one for one in found if not one.published.marks}


def comparable(found: Comparison) -> bool:
    return found.verdict in ("reproduced", "differs")


def test_cifar100_is_compared_at_the_authors_100_epochs_only() -> None:
    short = verdicts("ops", "dvae:epochs=60", "resnet18:epochs=60", "cifar100", 40_000)["wang2025bridgepure"]
    assert short.verdict == "not comparable"
    assert "dvae: epochs 60, published 100" in short.reason
    assert "resnet18: epochs 60, published 100 or 120" in short.reason
    assert comparable(
        verdicts("ops", "dvae:epochs=100", "resnet18:epochs=100", "cifar100", 40_000)["wang2025bridgepure"]
    )


def test_the_sources_own_number_of_epochs_is_comparable_too() -> None:
    assert comparable(verdicts("none", victim="resnet18:epochs=60", dataset="cifar100")["wang2021advin"])
    assert comparable(verdicts("lsp", victim="resnet18:epochs=200:batch_size=256")["qin2023apbench"])
    assert not comparable(verdicts("lsp", victim="resnet18:epochs=30")["qin2023apbench"])


def test_a_reason_names_each_alternative_once_the_smaller_first() -> None:
    same = verdicts("lsp:eps=1.0", victim="resnet18:epochs=90:batch_size=64")["liu2023iss"].reason
    assert same == "resnet18: epochs 90, published 60; resnet18: batch_size 64, published 128"
    other = verdicts("lsp", victim="resnet18:epochs=90", images=40_000)["wang2025bridgepure"].reason
    assert "epochs 90, published 60 or 120" in other
    assert alternatives("128", "none", "96", "128") == ("none", "96", "128")


def test_ar_is_the_papers_with_the_authors_coefficients_only() -> None:
    ours = verdicts("ar", coefficients="0" * 64)["liu2023iss"]
    assert ours.verdict == "not comparable"
    assert "ar: coefficients sha256-000000000000…, published sha256-b5d36829e819…" in ours.reason
    assert "the authors' file params-classes-10-mr-10.pt" in ours.reason
    assert comparable(verdicts("ar", coefficients=AUTHORS_AR)["liu2023iss"])
    assert not comparable(verdicts("ar", dataset="cifar100", coefficients=AUTHORS_AR)["sandovalsegura2022ar"])


def test_coefficients_are_told_by_their_values_in_any_file() -> None:
    values = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3) / 27
    assert values_sha256(torch.from_numpy(values).double()) == hashlib.sha256(values.tobytes()).hexdigest()


def test_lsp_is_compared_at_the_radius_of_each_source() -> None:
    default, one = verdicts("lsp"), verdicts("lsp:eps=1.0")
    assert (comparable(one["liu2023iss"]), comparable(default["liu2023iss"])) == (True, False)
    assert "lsp: eps 1.3041, published 1" in default["liu2023iss"].reason
    assert (comparable(one["qin2023apbench"]), comparable(default["qin2023apbench"])) == (False, True)
    unprinted = verdicts("lsp", images=40_000)["wang2025bridgepure"]
    assert comparable(unprinted)
    assert "does not print the radius" in unprinted.reason


@pytest.mark.parametrize("attack", ["em", "rem", "tap"])
def test_apbench_has_other_methods_of_the_same_name(attack: str) -> None:
    found = verdicts(attack)
    assert (found["qin2023apbench"].verdict, found["qin2023apbench"].difference) == ("other method", None)
    assert comparable(found["liu2023iss"])


def test_64_rows_of_apbench_are_other_methods() -> None:
    rows = [value for value in published_values() if value.source == "qin2023apbench" and not value.marks]
    of_old_methods = [v for v in rows if v.names[1] in ("em", "rem", "tap") and v.names[2] in defenses]
    assert sum(bool(recipe(v.source, "attack", v.attack, v.dataset).other) for v in of_old_methods) == 64


def test_mixing_is_compared_as_each_source_mixes() -> None:
    assert not comparable(verdicts("lsp", "mixup")["qin2023apbench"])
    assert comparable(verdicts("lsp", "mixup:rounds=1:probability=1")["qin2023apbench"])


def test_svhn_is_trained_without_augmentation() -> None:
    assert comparable(verdicts("lsp", dataset="svhn")["qin2023apbench"])
    augmented = verdicts("lsp", victim="resnet18:crop_padding=4:flip=true", dataset="svhn")["qin2023apbench"]
    assert "flip true, published false" in augmented.reason


def test_a_rate_of_one_source_and_data_set_replaces_the_reference() -> None:
    slow = verdicts("none", "at:epochs=120", "resnet18:epochs=60:lr=0.01", "svhn")["wang2021advin"]
    assert comparable(slow)
    assert "0.01 for adversarial training on SVHN" in slow.reason
    usual = verdicts("none", "at:epochs=120", "resnet18:epochs=60", "svhn")["wang2021advin"]
    assert (usual.verdict, "resnet18: lr 0.1, published 0.01" in usual.reason) == ("not comparable", True)
    assert comparable(verdicts("none", "at:epochs=120", "resnet18:epochs=60", "cifar10")["wang2021advin"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attack": "lsp:patch=4"}, "lsp: patch 4, published 8"),
        ({"attack": "lsp:poison_rate=0.5"}, "lsp: poison_rate 0.5, published 1"),
        ({"attack": "lsp:craft_on=all"}, "lsp: craft_on all is not in the published recipe"),
        ({"attack": "lsp", "defense": "iss-jpeg:quality=30"}, "iss-jpeg: quality 30, published 10"),
        ({"attack": "lsp", "victim": "resnet18:stem=imagenet"}, "resnet18: stem imagenet is not in"),
        ({"attack": "lsp", "images": 40_000}, "trained on 40,000 images, published on 50,000"),
        ({"attack": "lsp", "preset": "fast"}, "measured with preset fast"),
    ],
)
def test_another_recipe_is_not_compared_and_the_reason_says_where(changes: dict[str, str], reason: str) -> None:
    found = verdicts(**changes)["qin2023apbench"]
    assert found.verdict == "not comparable"
    assert reason in found.reason


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn"])
def test_statements_are_of_existing_parameters(dataset: str) -> None:
    registries = {"attack": attacks, "defense": defenses}
    for row in recipe_rows():
        registry = registries.get(row["kind"], {})
        if row["method"] in registry:
            found = recipe(row["source"], row["kind"], row["method"], dataset)
            assert set(found.stated) <= set(registry[row["method"]].parameters), row


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn"])
@pytest.mark.parametrize("kind", ["attack", "defense", "victim"])
def test_the_preset_paper_is_the_reference_on_each_data_set(kind: str, dataset: str) -> None:
    victims = "resnet18,resnet50,densenet121,mobilenetv2_100,vgg19,vit_base_patch16_224"
    matrix = make_matrix([Settings("paper", dataset, "all", "all", victims)])
    chosen = {"attack": matrix.attacks, "defense": matrix.defenses, "victim": matrix.victims}[kind]
    judged = 0
    for component in map(describe, chosen):
        found = recipe(REFERENCE, kind, component.name, dataset)
        parameters = component.parameters | component.extra.get("recipe", {})
        if component.name == "ar":
            parameters["coefficients"] = found.stated["coefficients"][0]
        assert list(departures(found, component.name, parameters, component.text)) == []
        judged += bool(found.stated)
    assert judged >= {"attack": 6, "defense": 8, "victim": 6}[kind]


def test_a_radius_in_the_recipe_is_the_budget_of_the_row() -> None:
    for value in published_values():
        stated = recipe(value.source, "attack", value.attack, value.dataset).stated
        radius = value.budget.partition(":")[2]
        if "eps" in stated and radius not in ("", "unstated") and value.names[1] in attacks:
            assert any(_number(text) == pytest.approx(_number(radius), rel=1e-3) for text in stated["eps"]), value


def _number(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    return float(numerator) / float(denominator or 1)


def test_every_row_of_the_table_applies_to_a_published_value() -> None:
    sources = {value.source for value in published_values()}
    for row in recipe_rows():
        assert row["source"] == REFERENCE or row["source"] in sources
        used = {
            (v.names[0], *names) for v in published_values() for names in (v.names[1:2], v.names[2:3], v.names[3:4])
        }
        if row["method"]:
            assert any(name == row["method"] and row["dataset"] in ("", data) for data, name in used), row
