from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.store.results import CellResult
from leaderboard.published.pairs import pairs_of
from leaderboard.published.values import (
    Measured,
    Published,
    compare,
    comparisons,
    largest_repeat,
    published_values,
    repeats,
    tolerance,
)
from leaderboard.site.heatmap import heat_cell
from leaderboard.tables.table import cells_frame, current_cells, leaderboard_frame

DOCUMENT = Path(__file__).parents[3] / "leaderboard" / "published" / "PUBLISHED.md"
MEASURED = Measured(
    dataset="cifar10",
    train_images=50_000,
    preset="paper",
    attack="lsp",
    attack_selection="lsp",
    budget="l2:1",
    defense="iss-jpeg",
    defense_selection="iss-jpeg",
    victim="resnet18",
    victim_selection="resnet18",
    accuracy=0.83,
    half_width_95=None,
    epochs=60,
    attack_parameters={"eps": 1.0, "patch": 8, "separation": 10.0, "rounding": "nearest", "poison_rate": 1.0},
    defense_parameters={"quality": 10, "test_view": False},
    victim_parameters={
        "epochs": 60,
        "batch_size": 128,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "cosine-epoch",
        "crop_padding": 4,
        "flip": True,
    },
)
PRINTED = Published("liu2023iss", 2023, "cifar10", 50_000, "lsp", "l2:1.0", "iss-jpeg", "resnet18", 0.80, None, "")


def test_values_are_read_as_fractions_and_documented() -> None:
    values = published_values()
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"holds {len(values)} values" in text
    assert {value.source for value in values if f"| `{value.source}` |" not in text} == set()
    assert all(0.005 < value.accuracy < 1 and (value.std is None or value.std < 0.1) for value in values)


def test_the_values_of_a_cell_are_found() -> None:
    found = {c.published.source: c for c in comparisons(MEASURED)}
    assert found["liu2023iss"].published.accuracy == pytest.approx(0.8301)
    assert found["liu2023iss"].verdict == "reproduced"
    assert found["liu2023iss"].difference == pytest.approx(-0.0001)
    assert comparisons(replace(MEASURED, dataset="shapes")) == []


def test_the_tolerance_is_how_far_published_runs_are_from_their_repeats() -> None:
    """APBench on CIFAR-10, undefended and behind its Gaussian blur, which changes nothing; in percent."""
    printed = {
        "ar": (11.74, 13.83),
        "dc": (15.19, 16.10),
        "em": (20.78, 14.71),
        "hypo": (70.38, 62.17),
        "lsp": (13.06, 18.61),
        "ntga": (22.76, 19.95),
        "ops": (14.69, 13.38),
        "rem": (17.47, 21.80),
        "tap": (6.27, 7.88),
    }
    found = {a.attack: (100 * a.accuracy, 100 * b.accuracy) for a, b in repeats() if a.dataset == "cifar10"}
    assert found == {name: pytest.approx(pair) for name, pair in printed.items()}
    apart = [abs(a - b) for a, b in printed.values()]
    assert tolerance() == round(sum(apart) / 9 / 100, 4) == 0.0365
    assert 100 * largest_repeat() == pytest.approx(8.2, abs=0.05)
    assert all(a.defense == b.defense == "none" and a.source == b.source == "qin2023apbench" for a, b in repeats())


def test_the_tolerance_is_printed_as_it_is_used() -> None:
    used = f"{100 * tolerance():g} points"
    assert f"tolerance {used}" in compare(MEASURED, PRINTED).reason
    root = DOCUMENT.parents[2]
    for page in ("docs/results.md", "docs/questions.md", "leaderboard/published/PUBLISHED.md"):
        assert used in (root / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize(
    ("accuracy", "half_width", "verdict"),
    [
        (0.83, None, "reproduced"),
        (0.8365, None, "reproduced"),
        (0.7635, None, "reproduced"),
        (0.8366, None, "differs"),
        (0.85, 0.049, "differs"),
        (0.85, 0.051, "reproduced"),
        (0.85, 0.082, "reproduced"),
        (0.85, 0.083, "undecided"),
        (0.80, 0.6, "undecided"),
        (0.10, 0.6, "differs"),
    ],
)
def test_reproduced_is_within_the_tolerance_or_an_interval_that_is_not_too_wide(
    accuracy: float, half_width: float | None, verdict: str
) -> None:
    measured = replace(MEASURED, accuracy=accuracy, half_width_95=half_width)
    assert compare(measured, PRINTED).verdict == verdict


def test_or_within_the_published_interval() -> None:
    """5 runs: half-width 2.776 * std / sqrt(5)."""
    printed = replace(PRINTED, source="wang2025bridgepure", std=0.05)
    assert printed.half_width_95 == pytest.approx(0.0621, abs=1e-4)
    assert compare(replace(MEASURED, accuracy=0.862), printed).verdict == "reproduced"
    assert compare(replace(MEASURED, accuracy=0.863), printed).verdict == "differs"
    assert replace(PRINTED, std=0.05).half_width_95 is None, "the number of runs is not printed"


def test_a_difference_smaller_than_that_of_repeats_says_so() -> None:
    assert "differed by up to 8.2" in compare(replace(MEASURED, accuracy=0.88), PRINTED).reason
    assert "differed" not in compare(replace(MEASURED, accuracy=0.89), PRINTED).reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accuracy": None}, "not measured"),
        ({"preset": "demo"}, "preset demo"),
        ({"train_images": 40_000}, "trained on 40,000 images, published on 50,000"),
        ({"attack_parameters": {}}, "lsp: eps is not recorded, published 1"),
        ({"attack_parameters": {}}, "lsp: 2 more parameters"),
    ],
)
def test_another_experiment_is_not_compared(changes: dict[str, object], reason: str) -> None:
    comparison = compare(replace(MEASURED, **changes), PRINTED)  # type: ignore[arg-type]
    assert (comparison.verdict, comparison.tolerance) == ("not comparable", None)
    assert reason in comparison.reason


def test_neither_an_oracle_nor_an_unknown_recipe_is_compared() -> None:
    oracle = compare(MEASURED, replace(PRINTED, marks=("oracle",)))
    assert (oracle.verdict, "an oracle's value" in oracle.reason) == ("not comparable", True)
    unknown = compare(replace(MEASURED, attack="gue"), replace(PRINTED, attack="gue"))
    assert (unknown.verdict, "the recipe of gue is not in the table" in unknown.reason) == ("not comparable", True)


def test_values_of_methods_that_do_not_exist_here_wait_in_the_table() -> None:
    found = {value.names[1:3]: value for value in published_values() if value.names[0] == "cifar10"}
    assert found["em", "avatar"].mark_text == "uses clean-originals"
    assert found["em", "bridgepure"].mark_text == "oracle, uses paired-data"
    assert found["sep", "iss-jpeg"].accuracy == pytest.approx(0.8437)
    marks = {mark for value in published_values() for mark in value.marks}
    assert marks == {"repeat", "oracle", "uses=clean-originals", "uses=clean-data", "uses=paired-data"}


def test_the_matrix_shows_only_values_of_its_own_budget(make_cell: Callable[..., CellResult]) -> None:
    frame = cells_frame([make_cell(attack, defense) for attack in ("none", "lsp") for defense in ("none", "iss-jpeg")])
    assert set(frame.loc[frame["attack"] == "lsp", "budget"]) == {"l2:1"}
    (jpeg, none) = pairs_of(current_cells(frame), leaderboard_frame(frame))
    shown = heat_cell(1, none["lsp"])
    assert "liu2023iss" in shown.note
    assert "qin2023apbench" not in shown.note, "its L2 1.3041 is another budget"
    assert len(none["none"].published) > 3
    assert jpeg["lsp"].keys == {0: "cifar10-paper-lsp-iss-jpeg-resnet18-0-done"}


def test_the_matrix_shows_no_other_method_of_the_same_name(make_cell: Callable[..., CellResult]) -> None:
    frame = cells_frame([make_cell(attack, extra={}) for attack in ("none", "rem")])
    frame.loc[frame["attack"] == "rem", "budget"] = "linf:8/255"
    (none,) = pairs_of(current_cells(frame), leaderboard_frame(frame))
    assert {found.verdict for found in none["rem"].published} >= {"other method", "not comparable"}
    shown = heat_cell(1, none["rem"])
    assert "liu2023iss" in shown.note
    assert "qin2023apbench" not in shown.note
