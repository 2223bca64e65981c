from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.store.results import CellResult
from leaderboard.site.label_placement import label_positions
from leaderboard.site.scatter import AXES, figure, figures, pareto_front
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]
POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15)


def traces(cells: list[CellResult]) -> dict[str, dict[str, Any]]:
    drawn = figure(leaderboard_frame(cells_frame(cells)))
    assert drawn is not None
    return {trace["name"]: trace for trace in drawn["data"]}


def replace_peak(cell: CellResult, peak: int) -> CellResult:
    return replace(cell, costs={stage: replace(cost, peak_gpu_bytes=peak) for stage, cost in cell.costs.items()})


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
    assert next(iter(drawn)) == "Pareto front", "below the lines that it would cover"


def test_a_cost_of_zero_stands_left_of_all_others(make_cell: MakeCell) -> None:
    cells = [
        make_cell(attack, name, purify=cost)
        for attack in ("none", "lsp")
        for name, cost in (("none", 0), ("free", 0), ("paid", 1))
    ]
    x = dict(zip(("free", "paid"), traces(cells)["defense"]["x"], strict=True))
    assert 0 < x["free"] < x["paid"] == pytest.approx(0.01)


def test_costs_of_several_devices_have_a_symbol_each_and_one_is_on_the_front(
    matrix: list[CellResult], make_cell: MakeCell
) -> None:
    device = "<b>, 2 threads"
    extra = [make_cell(a, "other", 0.99, seed=s, device=device) for a in ("none", "lsp", "ops") for s in range(3)]
    drawn = figure(leaderboard_frame(cells_frame([*matrix, *extra])), AXES[1])
    assert drawn is not None
    found = {trace["name"]: trace for trace in drawn["data"]}
    assert max(found["Pareto front"]["y"]) == max(found["Test GPU"]["y"]) < 99, "of the undefended training's device"
    single = {name: trace for name, trace in found.items() if trace["meta"] == "single"}
    assert {name: trace["text"] for name, trace in single.items()} == {
        "Test GPU": ["dvae", "iss-jpeg", "iss-gray"],
        "&lt;b&gt;, 2 threads": ["other"],
    }
    assert len({trace["marker"]["symbol"] for trace in single.values()}) == 2
    assert all(trace["showlegend"] for trace in single.values())


def test_a_long_name_is_cut_beside_its_point_and_in_the_hover(make_cell: MakeCell) -> None:
    points = traces([make_cell(a, d) for a in ("none", "lsp") for d in ("none", "x" * 300)])["defense"]
    assert points["text"] == ["x" * 29 + "…"]
    assert f"{'x' * 59}…" in points["hovertext"][0]
    assert "x" * 60 not in points["hovertext"][0]


def test_nothing_to_draw_is_no_figure(make_cell: MakeCell) -> None:
    assert figure(leaderboard_frame(cells_frame([make_cell()]))) is None


def test_labels_avoid_each_other_and_the_border() -> None:
    sides = label_positions([(0.5, 0.5), (0.5, 0.56), (0.99, 0.2)], ["one name", "other name", "right edge"], [])
    assert sides[0] != sides[1]
    assert sides[2].endswith("left")


def test_of_two_close_points_each_label_is_nearest_to_its_own() -> None:
    front = [((0.39, 0.9), (1.0, 0.9)), ((0.39, 0.3), (0.39, 0.9))]
    levels = [((0.0, 0.955), (1.0, 0.955)), ((0.0, 0.905), (1.0, 0.905))]
    upper, lower = label_positions([(0.39, 0.9), (0.39, 0.865)], ["iss-jpeg", "jpeg"], front + levels)
    assert upper.startswith("top"), "below it, the label would be next to the other point"
    assert lower.startswith("bottom")


def test_every_cost_that_tells_defenses_apart_is_an_axis(matrix: list[CellResult]) -> None:
    drawn = figures(leaderboard_frame(cells_frame(matrix)))
    assert list(drawn) == ["trainings", "seconds", "joules"], "all peaks are 2 GiB"
    x = {name: next(t for t in value["data"] if t["name"] == "defense")["x"] for name, value in drawn.items()}
    assert x["seconds"] == pytest.approx([400, 4, 0.2])
    assert x["joules"] == pytest.approx([40_000, 400, 20])
    large = [replace_peak(cell, 4 * 2**30) if cell.defense.name == "dvae" else cell for cell in matrix]
    memory = figures(leaderboard_frame(cells_frame(large)))["memory"]
    assert next(t for t in memory["data"] if t["name"] == "defense")["x"] == pytest.approx([2**32, 2**31, 2**31])


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (300, 900, ["128 MiB", "256 MiB", "512 MiB", "1 GiB"]),
        (1, 5000, ["2 MiB", "16 MiB", "128 MiB", "1 GiB", "8 GiB"]),
    ],
)
def test_memory_has_ticks_at_powers_of_two(make_cell: MakeCell, least: int, most: int, expected: list[str]) -> None:
    cells = [
        replace_peak(make_cell(a, d), peak * 2**20)
        for a in ("none", "lsp")
        for d, peak in (("none", least), ("one", least), ("two", most))
    ]
    axis = figures(leaderboard_frame(cells_frame(cells)))["memory"]["layout"]["xaxis"]
    assert axis["ticktext"] == expected


def test_one_axis_stays_where_all_cost_the_same(make_cell: MakeCell) -> None:
    cells = [make_cell(a, d) for a in ("none", "lsp") for d in ("none", "one", "two")]
    assert list(figures(leaderboard_frame(cells_frame(cells)))) == ["trainings"]


def test_a_cost_nobody_measured_is_no_axis(make_cell: MakeCell) -> None:
    cells = [make_cell(a, d, energy_joules=None) for a in ("none", "lsp") for d in ("none", "dvae")]
    assert "joules" not in figures(leaderboard_frame(cells_frame(cells)))


def test_no_label_stands_on_a_bar(matrix: list[CellResult]) -> None:
    """Right above or below its point it would."""
    sides = [side for trace in traces(matrix).values() for side in trace.get("textposition", [])]
    assert len(sides) == 4
    assert not {side for side in sides if side.endswith("center")}


def test_bars_are_the_intervals(matrix: list[CellResult]) -> None:
    assert traces(matrix)["defense"]["error_y"]["array"] == pytest.approx([2.484] * 3, abs=1e-3)


def test_points_name_their_rows(matrix: list[CellResult]) -> None:
    board = leaderboard_frame(cells_frame(matrix))
    points = traces(matrix)["defense"]
    assert (
        list(board.loc[points["customdata"], "defense_selection"]) == points["text"] == ["dvae", "iss-jpeg", "iss-gray"]
    )
