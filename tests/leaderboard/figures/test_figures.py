"""Figures for papers: what is drawn are the numbers of the frames, and the files are what a publisher takes."""

import json
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.cli.main import cli
from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.site.scatter import AXES, figure
from leaderboard.tables.curves import curves_frame
from leaderboard.tables.table import Frames, frames_of

pytest.importorskip("matplotlib", reason="pip install 'purify-bench[dev]' for the tests of figures")
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from leaderboard.figures.accuracy_cost import accuracy_cost
from leaderboard.figures.captions import curve_caption, heat_caption
from leaderboard.figures.curves import curves
from leaderboard.figures.heat_map import heat_map, table_of
from leaderboard.figures.style import rendered, saved, styled

MakeCell = Callable[..., CellResult]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def cells(matrix: list[CellResult], make_cell: MakeCell) -> list[CellResult]:
    """The matrix, and three qualities of JPEG against its attacks: 36 + 27 cells, three seeds."""

    def jpeg(attack: str, quality: int, seed: int) -> CellResult:
        accuracy = 0.9 - quality / 200 + 0.01 * seed
        cell = make_cell(attack, f"jpeg:quality={quality}", accuracy, seed=seed, purify=quality / 10)
        return replace(cell, defense=replace(cell.defense, parameters={"quality": quality, "test_view": False}))

    return [*matrix, *(jpeg(a, q, s) for a in ("none", "lsp", "ops") for q in (10, 50, 90) for s in range(3))]


@pytest.fixture(scope="module")
def frames(cells: list[CellResult]) -> Frames:
    return frames_of(cells)


@pytest.fixture(scope="module")
def made(cells: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `bench figures` wrote."""
    root = tmp_path_factory.mktemp("figures")
    result = bench_figures(write_cells(root / "store", cells), root / "figs")
    assert result.exit_code == 0, result.output
    return root / "figs" / "cifar10-paper-resnet18-bfloat16"


def write_cells(root: Path, cells: list[CellResult]) -> Path:
    (root / "cells").mkdir(parents=True)
    for number, cell in enumerate(cells):
        key = f"{number:08x}"
        (root / "cells" / f"{key}.json").write_text(json.dumps(asdict(replace(cell, key=key))))
    return root


def bench_figures(store: Path, out: Path, *more: str) -> Any:
    return CliRunner().invoke(cli, ["figures", "--store", str(store), "--out", str(out), *more])


def scatter(frames: Frames, size: str = "single") -> Figure:
    with styled():
        return accuracy_cost(figure(frames.board, AXES[0]), frames.board, size)[0]


def overlapping(page: Figure) -> list[tuple[str, str]]:
    """Pairs of texts in the plots of a figure whose boxes meet."""
    with styled():
        renderer = rendered(page)
        ticks = [
            label
            for axes in page.axes
            for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
            for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            if low <= at <= high
        ]
        texts = [text for axes in page.axes for text in axes.texts] + ticks
        boxes = [(t.get_text(), Text.get_window_extent(t, renderer)) for t in texts if t.get_text()]  # without its line
    assert len(boxes) > 3
    return [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)]


def test_every_figure_is_there_in_all_sizes_and_formats(made: Path) -> None:
    names = {path.name for path in made.iterdir()}
    figures = ("accuracy-cost", "heat-map", "curve-jpeg-quality")
    files = {f"{f}-{size}.{kind}" for f in figures for size in ("single", "double") for kind in ("pdf", "svg", "png")}
    assert names == files | {f"{name}.txt" for name in figures}


@pytest.mark.parametrize(("size", "inches"), [("single", 3.3), ("double", 6.9)])
def test_files_have_the_width_of_a_column_and_their_text_as_text(made: Path, size: str, inches: float) -> None:
    for name, labels in {
        "accuracy-cost": {"dvae", "iss-gray", "clean baseline", "undefended", "mean accuracy (%)"},
        "heat-map": {"clean data", "lsp", "none", "iss-jpeg"},
        "curve-jpeg-quality": {"lsp", "ops", "clean data", "clean baseline", "quality of jpeg"},
    }.items():
        svg = ElementTree.parse(made / f"{name}-{size}.svg").getroot()
        texts = list(svg.iter(f"{SVG}text"))
        assert labels <= {"".join(text.itertext()).strip() for text in texts}
        assert set(re.findall(r"[\d.]+px", "".join(text.get("style", "") for text in texts))) == {"8px"}, "8 points"
        assert svg.get("width") == f"{72 * inches:g}pt"
        pdf = (made / f"{name}-{size}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert b"/Subtype /CIDFontType2" in pdf or b"/FontFile2" in pdf
        assert b"/Type3" not in pdf
        assert f"/MediaBox [ 0 0 {72 * inches:g}".encode() in pdf
        with Image.open(made / f"{name}-{size}.png") as image:
            assert image.width == round(300 * inches)


def test_captions_state_seeds_images_and_what_bars_are(made: Path) -> None:
    for name in ("accuracy-cost", "heat-map", "curve-jpeg-quality"):
        text = (made / f"{name}.txt").read_text()
        assert "50,000 training images; every accuracy is on 10,000 test images" in text
        assert "3 seeds (0, 1, 2). 63 of 63 cells finished. Device: Test GPU." in text
        assert ("Bars: 95 % Student-t intervals" in text) == (name != "heat-map")


def test_points_are_the_rows_of_the_board_with_their_intervals(frames: Frames) -> None:
    (axes,) = scatter(frames).axes
    rows = frames.board[frames.board["defense"] != "none"]
    expected = (rows[["cost_multiple", "mean_accuracy", "half_width_95"]] * [1, 100, 100] - [1, 0, 0]).to_numpy(float)
    assert len(expected) == 8
    drawn = [point for container in axes.containers for point in points(container)]
    np.testing.assert_allclose(sorted(drawn), sorted(map(tuple, expected)), atol=1e-3)
    assert [len(points(container)) for container in axes.containers] == [6, 2], "two are the best of several settings"


def points(container: Any) -> list[tuple[float, float, float]]:
    """Position and half the bar of each point of an error bar plot."""
    line, _, (bars,) = container
    halves = [(segment[1, 1] - segment[0, 1]) / 2 for segment in bars.get_segments()]
    return list(zip(line.get_xdata(), line.get_ydata(), halves, strict=True))


def test_cells_of_the_heat_map_are_the_accuracies_of_the_board(frames: Frames) -> None:
    with styled():
        axes = heat_map(frames.board, "double").axes[0]
    (grid,) = (found for found in axes.collections if isinstance(found, QuadMesh))
    board = frames.board[::-1]
    columns = ["clean_accuracy", "accuracy[lsp]", "accuracy[ops]"]
    np.testing.assert_allclose(grid.get_array(), 100 * board[columns].to_numpy(float))
    assert [label.get_text() for label in axes.get_yticklabels()] == list(board["defense_selection"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["clean data", "lsp", "ops"]
    printed = [text.get_text() for text in axes.texts]
    assert printed == [f"{value:.1f}" for value in 100 * board[columns].to_numpy(float).ravel()]


def test_lines_of_a_curve_are_its_points_with_their_levels(frames: Frames) -> None:
    frame = curves_frame(frames.cells)
    with styled():
        (axes,) = curves(frame, "single").axes
    lines = {container.get_label(): points(container) for container in axes.containers}
    assert set(lines) == {"none", "lsp", "ops"}
    for name, rows in frame.groupby("against"):
        expected = 100 * rows[["clean_test_accuracy", "half_width_95"]].to_numpy(float)
        np.testing.assert_allclose([point[1:] for point in lines[str(name)]], expected)
        assert [point[0] for point in lines[str(name)]] == [10, 50, 90]
    levels = sorted(line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 2)
    assert levels == pytest.approx([15, 35, 95, 95]), "lsp, ops and clean data without defense, and the clean baseline"
    assert [text.get_text() for text in axes.texts] == ["lsp", "clean data", "ops", "clean baseline"]


@pytest.mark.parametrize("size", ["single", "double"])
def test_no_label_covers_another(frames: Frames, size: str) -> None:
    with styled():
        pages = [curves(curves_frame(frames.cells), size), heat_map(frames.board, size), scatter(frames, size)]
    for page in pages:
        assert overlapping(page) == []
    named = {text.get_text() for text in pages[-1].axes[0].texts}
    assert {"dvae", "iss-gray", "jpeg:quality=50", "iss (best per attack)", "undefended"} <= named


@pytest.mark.parametrize(("size", "name"), [("single", "envelope"), ("double", "baseline envelope")])
def test_the_envelope_is_named_where_the_front_does_not_cover_it(
    matrix: list[CellResult], size: str, name: str
) -> None:
    page = scatter(frames_of(matrix), size)
    (axes,) = page.axes
    lines = {line.get_linestyle(): line for line in axes.lines if len(line.get_xdata()) > 1}
    front, envelope = lines["-"], lines["-."]
    assert axes.lines.index(front) < axes.lines.index(envelope), "drawn first, so below"
    covered = [
        (left, right)
        for (left, y), (right, up) in pairwise(zip(front.get_xdata(), front.get_ydata(), strict=True))
        if y == up == envelope.get_ydata()[0]
    ]
    assert covered
    (label,) = (text for text in axes.texts if text.get_text() == name)
    with styled():
        box = Text.get_window_extent(label, rendered(page)).transformed(axes.transData.inverted())
    assert all(box.x1 <= left or right <= box.x0 for left, right in covered)


@pytest.fixture(scope="module")
def wide(make_cell: MakeCell) -> Frames:
    """Two seeds: intervals of 13 points around 50 %, of costs that hardly differ, and of 64 points around 85 %."""
    cells = []
    for quality in (10, 50, 90):
        for attack in ("none", "lsp"):
            for seed in (0, 1):
                value = 0.8 + 0.1 * seed if attack == "none" else 0.49 + quality / 1e4 + 0.02 * seed
                cell = make_cell(attack, f"jpeg:quality={quality}", value, seed=seed, purify=1 + quality / 1e3)
                cells.append(replace(cell, defense=replace(cell.defense, parameters={"quality": quality})))
    return frames_of([*cells, *(make_cell(a, "none", 0.5, seed=s) for a in ("none", "lsp") for s in (0, 1))])


@pytest.mark.parametrize("size", ["single", "double"])
def test_no_label_stands_on_an_error_bar(wide: Frames, size: str) -> None:
    page = scatter(wide, size)
    (axes,) = page.axes
    bars = [bar for container in axes.containers for bar in container[2][0].get_segments()]
    assert len(bars) == 4
    with styled():
        renderer = rendered(page)
        for text in axes.texts:
            box = Text.get_window_extent(text, renderer).transformed(axes.transData.inverted())
            assert not any(box.x0 < x < box.x1 and low < box.y1 and box.y0 < high for (x, low), (_, high) in bars), text


def test_intervals_end_at_0_and_100_percent_and_the_caption_says_so(wide: Frames, frames: Frames) -> None:
    cut, whole = ", cut at 0 and 100 %.", "Bars: 95 % Student-t intervals of the mean over seeds."
    points = curves_frame(wide.cells)
    with styled():
        (axes,) = curves(points, "single").axes
        ends = [y for container in axes.containers for bar in container[2][0].get_segments() for y in bar[:, 1]]
        assert max(ends) == pytest.approx(100)
        assert axes.get_ylim()[1] <= 102
    assert cut in curve_caption(points, wide.cells)
    assert whole in curve_caption(curves_frame(frames.cells), frames.cells)


def test_many_defenses_are_all_named_in_one_column(make_cell: MakeCell) -> None:
    cells = [make_cell(attack, "none", 0.3 if attack == "lsp" else 0.95, purify=0) for attack in ("none", "lsp")]
    for n in range(18):
        cells += [make_cell(a, f"defense-{n:02}", 0.5 + 0.02 * n, purify=1.6**n / 100) for a in ("none", "lsp")]
    board = frames_of(cells).board
    with styled():
        page, unnamed = accuracy_cost(figure(board, AXES[0]), board, "single")
    assert unnamed == []
    assert len({text.get_text() for text in page.axes[0].texts} & set(board["defense_selection"])) == 18
    assert overlapping(page) == []


def test_the_same_results_give_the_same_bytes(frames: Frames, made: Path) -> None:
    for kind in ("pdf", "svg", "png"):
        with styled():
            page = curves(curves_frame(frames.cells), "single")
            again = saved(page, kind, f"{made.name}/curve-jpeg-quality")
        assert (made / f"curve-jpeg-quality-single.{kind}").read_bytes() == again, kind
        assert not re.search(rb"CreationDate|dc:date|20\d\d-\d\d-\d\dT", again)


def test_a_store_with_one_cell_has_a_heat_map_and_says_what_is_absent(make_cell: MakeCell, tmp_path: Path) -> None:
    result = bench_figures(write_cells(tmp_path / "store", [make_cell("none", "none", 0.9)]), tmp_path / "figs")
    assert result.exit_code == 0, result.output
    assert "no accuracy-cost, for no defense has all its cells and a cost in trainings" in result.stderr
    names = {path.name for path in (tmp_path / "figs").rglob("*.*")} - {"figures.json"}
    assert {name.partition("-single")[0].partition("-double")[0] for name in names} == {"heat-map", "heat-map.txt"}
    assert "1 seed (0). 1 of 1 cells finished" in next(tmp_path.rglob("heat-map.txt")).read_text()


@pytest.mark.parametrize(
    ("status", "message"),
    [("", "nothing to publish: no cells found"), ("failed", "nothing to draw: 0 of 1 cell finished")],
)
def test_nothing_to_draw_is_said_and_nothing_is_written(
    make_cell: MakeCell, tmp_path: Path, status: str, message: str
) -> None:
    store = write_cells(tmp_path / "store", [make_cell(status=status)] if status else [])
    result = bench_figures(store, tmp_path / "figs")
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not (tmp_path / "figs").exists()


def test_without_matplotlib_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = bench_figures(tmp_path, tmp_path / "figs")
    assert isinstance(result.exception, UserError)
    assert "pip install 'purify-bench[figures]'" in str(result.exception)


def test_odd_names_are_drawn_as_they_are_and_stand_whole_in_the_caption(make_cell: MakeCell) -> None:
    odd, long = "npz:中$x_1$", "iss-gray+jpeg:quality=30:test_view=true"
    cells = [make_cell(attack, defense, 0.5) for attack in ("none", odd) for defense in ("none", long)]
    board = frames_of(cells).board
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        page = heat_map(board, "single")
        svg = saved(page, "svg", "odd").decode()
    assert "npz:U+4E2D$x_1$" in svg
    assert "iss-gray+jpeg:quality…" in svg
    caption = heat_caption(board, frames_of(cells).cells, [odd])
    assert f"Names that are changed or cut: {long}, \u2068{odd}\u2069." in caption


def test_missing_values_are_gray_and_columns_without_any_are_left_out(make_cell: MakeCell) -> None:
    cells = [make_cell("none", "none", 0.9), make_cell("lsp", "none", 0.2), make_cell("none", "dvae", 0.8)]
    failed = [make_cell(attack, "dvae", status="failed") for attack in ("lsp", "ops")]
    board = frames_of([*cells, *failed]).board
    values, columns, names = table_of(board)
    assert (columns, names) == (["clean data", "lsp"], ["dvae", "none"])
    np.testing.assert_allclose(values, [[80, np.nan], [90, 20]])
    with styled():
        texts = [text.get_text() for text in heat_map(board, "single").axes[0].texts]
    assert texts == ["90.0", "20.0", "80.0", "–"]


def test_a_heat_map_without_room_for_numbers_says_which_file_has_them(make_cell: MakeCell, frames: Frames) -> None:
    note = "The file for one column has no room for numbers: use the double one."
    many = frames_of([make_cell(f"attack-{n:03}", f"defense-{n:03}", 0.5) for n in range(120)])
    for found, without in ((many, True), (frames, False)):
        board = found.board[found.board["victim"] == found.board["victim"].iloc[0]]
        assert (note in heat_caption(board, found.cells, [])) is without
        with styled():
            texts = {text.get_text() for text in heat_map(board, "single").axes[0].texts}
        assert bool(texts - {"", "–"}) is not without


def test_attacks_are_rows_where_numbers_have_room_only_so(make_cell: MakeCell) -> None:
    cells = [make_cell(f"attack-{n:02}", d, n / 20) for n in range(18) for d in ("none", "iss-jpeg")]
    board = frames_of(cells).board
    attacks, defenses = [f"attack-{n:02}" for n in range(18)], ["iss-jpeg", "none"]
    with styled():
        narrow, wide = (heat_map(board, size).axes[0] for size in ("single", "double"))
    assert [label.get_text() for label in wide.get_xticklabels()] == attacks
    assert [label.get_text() for label in narrow.get_yticklabels()] == attacks[::-1]
    assert [label.get_text() for label in narrow.get_xticklabels()] == list(board["defense_selection"])
    assert sorted(defenses) == sorted(board["defense_selection"])
    printed = [text.get_text() for text in narrow.texts]
    assert printed == [f"{5 * n:.1f}" for n in range(17, -1, -1) for _ in defenses]
    assert "In the file for one column, attacks are the rows." in heat_caption(board, frames_of(cells).cells, attacks)
