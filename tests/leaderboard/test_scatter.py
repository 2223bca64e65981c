from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import CellResult
from leaderboard.labels import label_positions
from leaderboard.scatter import figure, pareto_front
from leaderboard.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]
POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15)


def traces(cells: list[CellResult]) -> dict[str, dict[str, list[float]]]:
    drawn = figure(leaderboard_frame(cells_frame(cells)))
    assert drawn is not None
    return {trace["name"]: trace for trace in drawn["data"]}


@given(POINTS)
def test_front_agrees_with_the_definition(points: list[tuple[float, float]]) -> None:
    def dominated(point: tuple[float, float]) -> bool:
        return any(o != point and o[0] <= point[0] and o[1] >= point[1] for o in points)

    assert pareto_front(points) == sorted({point for point in points if not dominated(point)})


def test_points_stand_at_their_extra_cost(matrix: list[CellResult]) -> None:
    drawn = traces(matrix)
    assert drawn["defense"]["x"] == pytest.approx([4.0, 0.04, 0.002])
    assert drawn["defense"]["y"] == pytest.approx([90, 82, 65])
    assert drawn["undefended"]["y"] == pytest.approx([25, 25])
    assert drawn["clean baseline"]["y"] == pytest.approx([95, 95])


def test_the_front_leaves_out_the_oracle(matrix: list[CellResult]) -> None:
    drawn = traces(matrix)
    assert drawn["oracle: best per attack"]["y"] == pytest.approx([83])
    assert sorted(set(drawn["Pareto front"]["y"])) == pytest.approx([65, 82, 90])


def test_a_cost_of_zero_stands_left_of_all_others(make_cell: MakeCell) -> None:
    cells = [
        make_cell(attack, name, purify=cost)
        for attack in ("none", "lsp")
        for name, cost in (("none", 0), ("free", 0), ("paid", 1))
    ]
    x = dict(zip(("free", "paid"), traces(cells)["defense"]["x"], strict=True))
    assert 0 < x["free"] < x["paid"] == pytest.approx(0.01)


def test_costs_of_several_devices_have_no_front(matrix: list[CellResult], make_cell: MakeCell) -> None:
    extra = [make_cell(a, "other", seed=s, device="Other GPU") for a in ("none", "lsp", "ops") for s in range(3)]
    assert "Pareto front" not in traces([*matrix, *extra])


def test_nothing_to_draw_is_no_figure(make_cell: MakeCell) -> None:
    assert figure(leaderboard_frame(cells_frame([make_cell()]))) is None


def test_labels_avoid_each_other_and_the_border() -> None:
    sides = label_positions([(0.5, 0.5), (0.5, 0.56), (0.99, 0.2)], ["one name", "other name", "right edge"], [])
    assert sides[0] != sides[1]
    assert sides[2].endswith("left")
