import math
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import pytest
from rich.console import Console

from bench.store.results import CellResult
from leaderboard.export.curves import print_curves
from leaderboard.site.curves import BOTTOM, TOP, curve_figures
from leaderboard.tables.curves import curves_frame, without_parameter
from leaderboard.tables.table import cells_frame

MakeCell = Callable[..., CellResult]


def with_parameters(cell: CellResult, kind: str, **parameters: object) -> CellResult:
    return replace(cell, **{kind: replace(getattr(cell, kind), parameters=parameters)})


def jpeg(make_cell: MakeCell, attack: str, quality: int, accuracy: float, seed: int = 0) -> CellResult:
    name = "jpeg" if quality == 75 else f"jpeg:quality={quality}"
    cell = make_cell(attack, name, accuracy, seed=seed)
    return with_parameters(cell, "defense", quality=quality, test_view=False)


@pytest.fixture
def quality(make_cell: MakeCell) -> list[CellResult]:
    """Three qualities, one the default, against lsp, ops and clean data, two seeds; with the baselines."""
    cells = [make_cell(a, "none", v, seed=s) for a, v in (("none", 0.9), ("lsp", 0.2), ("ops", 0.3)) for s in (0, 1)]
    for attack, level in (("none", 0.8), ("lsp", 0.5), ("ops", 0.4)):
        for q in (10, 50, 75):
            cells += [jpeg(make_cell, attack, q, level + q / 1000 + 0.01 * seed, seed) for seed in (0, 1)]
    return cells


def test_values_of_one_parameter_are_a_curve_with_its_levels(quality: list[CellResult]) -> None:
    frame = curves_frame(cells_frame(quality))
    assert set(zip(frame["varied"], frame["component"], frame["parameter"], strict=True)) == {
        ("defense", "jpeg", "quality")
    }
    lsp = frame[frame["against"] == "lsp"]
    assert lsp["value"].tolist() == [10.0, 50.0, 75.0]
    assert lsp["clean_test_accuracy"].tolist() == pytest.approx([0.515, 0.555, 0.58])
    assert lsp["half_width_95"].tolist() == pytest.approx([12.7062 * 0.005] * 3, rel=1e-4)  # t(0.975, 1) * 0.01 / 2
    assert lsp["undefended_accuracy"].tolist() == pytest.approx([0.2] * 3)
    assert frame["clean_baseline_accuracy"].tolist() == pytest.approx([0.9] * 9)
    assert set(frame["against"]) == {"none", "lsp", "ops"}


def test_a_point_that_lacks_a_seed_has_no_accuracy_and_two_points_are_no_curve(quality: list[CellResult]) -> None:
    cells = [c for c in quality if not (c.attack.name == "ops" and c.defense.text == "jpeg" and c.seed == 1)]
    frame = curves_frame(cells_frame(cells))
    assert set(frame["against"]) == {"none", "lsp"}
    cells = [c for c in quality if c.defense.text != "jpeg"]
    assert curves_frame(cells_frame(cells)).empty


def test_another_parameter_that_differs_separates_points(make_cell: MakeCell, quality: list[CellResult]) -> None:
    odd = with_parameters(make_cell("lsp", "jpeg:odd", 0.1), "defense", quality=90, test_view=True)
    values = curves_frame(cells_frame([*quality, odd]))["value"]
    assert set(values) == {10.0, 50.0, 75.0}


def test_values_of_an_attack_are_lines_by_defense(make_cell: MakeCell) -> None:
    cells = [make_cell("none", "none", 0.9)]
    for rate in (0.2, 0.6, 1.0):
        for defense, level in (("none", 0.9 - rate / 2), ("dvae", 0.8)):
            cell = make_cell("em" if rate == 1 else f"em:poison_rate={rate}", defense, level)
            cells.append(with_parameters(cell, "attack", poison_rate=rate, min_min=True))
    frame = curves_frame(cells_frame(cells))
    dvae = frame[frame["against"] == "dvae"]
    assert set(frame["component"]) == {"em"}
    assert dvae["undefended_accuracy"].tolist() == pytest.approx([0.8, 0.6, 0.4])
    assert all(math.isnan(width) for width in dvae["half_width_95"])


def test_the_drawing_is_inside_its_area_and_labels_do_not_overlap(quality: list[CellResult]) -> None:
    (figure,) = curve_figures(curves_frame(cells_frame(quality)))
    assert [line.name for line in figure.lines] == ["lsp", "none", "ops"]
    assert figure.clean == pytest.approx(BOTTOM - 0.9 * (BOTTOM - TOP), abs=0.1)
    for line in figure.lines:
        assert [x for x, _ in line.points] == sorted({x for x, _ in line.points})
        assert all(TOP <= y <= BOTTOM for _, y in line.points)
        assert all(low > y > high for (_, y), (_, low, high) in zip(line.points, line.intervals, strict=True))
    assert all(b - a >= 15 for a, b in pairwise(sorted(line.label for line in figure.lines)))
    assert figure.rows[0] == ["10", "51.5 ± 6.4", "81.5 ± 6.4", "41.5 ± 6.4"]


def test_the_terminal_has_a_row_for_each_value(quality: list[CellResult]) -> None:
    out = StringIO()
    print_curves(cells_frame(quality), Console(file=out, width=100))
    text = out.getvalue()
    assert "jpeg: accuracy in % by quality" in text
    assert [line.split()[0] for line in text.splitlines() if "±" in line] == ["10", "50", "75"]
    assert "clean baseline 90.0, undefended lsp 20.0" in text


@pytest.mark.parametrize(
    ("selection", "parameter", "rest"),
    [
        ("jpeg:quality=30", "quality", "jpeg"),
        ("em:eps=16/255:lr=0.1", "eps", "em:lr=0.1"),
        ("em", "eps", "em"),
        ("em:eps=4/255+rem:eps=8/255", "rem.eps", "em:eps=4/255+rem"),
        ("em:eps=4/255+rem:eps=8/255", "em.eps", "em+rem:eps=8/255"),
        ('adaptive:base="em:eps=4/255":through=iss-jpeg', "base.eps", "adaptive:base=em:through=iss-jpeg"),
        (
            'adaptive:base="em:eps=4/255":through="jpeg:quality=30"',
            "through.quality",
            'adaptive:base="em:eps=4/255":through=jpeg',
        ),
        ('adaptive:base="em:eps=4/255":through=jpeg+ops', "adaptive.base.eps", "adaptive:base=em:through=jpeg+ops"),
        (
            'adaptive:base=em:through="iss-gray+jpeg:quality=30"',
            "through.jpeg.quality",
            'adaptive:base=em:through="iss-gray+jpeg"',
        ),
        ('adaptive:base="em:eps=4/255":through=jpeg', "eps", 'adaptive:base="em:eps=4/255":through=jpeg'),
        ('npz:"a:eps=1+b.npz":eps=2', "eps", 'npz:"a:eps=1+b.npz"'),
    ],
)
def test_the_component_is_named_without_the_parameter(selection: str, parameter: str, rest: str) -> None:
    assert without_parameter(selection, parameter) == rest
