from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.results import CellResult
from leaderboard.heatview import heat_cell
from leaderboard.matrix import entries
from leaderboard.published import Measured, Published, compare, comparisons, published_values
from leaderboard.table import cells_frame, current_cells, leaderboard_frame

DOCUMENT = Path(__file__).parents[2] / "leaderboard" / "PUBLISHED.md"
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
    assert "does not print the budget" in found["qin2023apbench"].reason
    assert comparisons(replace(MEASURED, dataset="shapes")) == []


@pytest.mark.parametrize(
    ("accuracy", "half_width", "verdict"),
    [
        (0.83, None, "reproduced"),
        (0.77, None, "reproduced"),
        (0.8301, None, "differs"),
        (0.84, 0.039, "differs"),
        (0.84, 0.041, "reproduced"),
    ],
)
def test_tolerance_is_three_points_or_the_interval(accuracy: float, half_width: float | None, verdict: str) -> None:
    measured = replace(MEASURED, accuracy=accuracy, half_width_95=half_width)
    assert compare(measured, PRINTED).verdict == verdict


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preset": "demo"}, "preset demo"),
        ({"preset": ""}, "without the preset"),
        ({"train_images": 40_000}, "trained on 40,000 images, published on 50,000"),
        ({"attack_selection": "lsp:patch=4"}, "other settings (lsp:patch=4)"),
        ({"defense_selection": "iss-jpeg:quality=30"}, "other settings (iss-jpeg:quality=30)"),
        ({"victim_selection": "resnet18:epochs=1"}, "other settings (resnet18:epochs=1)"),
        ({"budget": "l2:2"}, "budget l2:2, published l2:1.0"),
        ({"budget": "linf:8/255"}, "budget linf:8/255"),
        ({"accuracy": None}, "not measured"),
    ],
)
def test_another_experiment_is_not_compared(changes: dict[str, object], reason: str) -> None:
    comparison = compare(replace(MEASURED, **changes), PRINTED)  # type: ignore[arg-type]
    assert comparison.verdict == "not comparable"
    assert reason in comparison.reason


def test_budgets_are_compared_as_numbers() -> None:
    linf = replace(PRINTED, budget="linf:8/255")
    assert compare(replace(MEASURED, budget="linf:8/255"), linf).verdict == "reproduced"
    assert compare(replace(MEASURED, budget="linf:16/255"), linf).verdict == "not comparable"
    unstated = replace(PRINTED, budget="l2:unstated")
    assert compare(MEASURED, unstated).verdict == "reproduced"
    assert compare(replace(MEASURED, budget="linf:8/255"), unstated).verdict == "not comparable"


def test_the_matrix_shows_only_values_of_its_own_budget(make_cell: Callable[..., CellResult]) -> None:
    frame = cells_frame([make_cell(attack, defense) for attack in ("none", "ops") for defense in ("none", "iss-jpeg")])
    assert set(frame.loc[frame["attack"] == "ops", "budget"]) == {"l2:1"}, "not the one pixel of the papers"
    (jpeg, none) = entries(current_cells(frame), leaderboard_frame(frame))
    assert {found.published.budget for found in none["ops"].published if found.same_budget} == {""}
    shown = heat_cell(1, none["ops"])
    assert shown.published, "values whose source prints no budget"
    assert "liu2023iss" not in shown.note, "its one pixel is another budget"
    assert len(none["none"].published) > 3
    assert jpeg["ops"].keys == {0: "cifar10-paper-ops-iss-jpeg-resnet18-0-done"}
