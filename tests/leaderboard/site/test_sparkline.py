import re
from collections.abc import Callable
from dataclasses import replace

from bench.store.results import CellResult
from leaderboard.site.page import render_pages
from leaderboard.site.sparkline import HEIGHT, WIDTH, sparklines
from leaderboard.site.views import tables_of
from leaderboard.tables.table import frames_of

MakeCell = Callable[..., CellResult]


def with_curve(cell: CellResult, *accuracies: float | None) -> CellResult:
    curve = [{"epoch": i, "clean_test_accuracy": value} for i, value in enumerate(accuracies, start=1)]
    return replace(cell, curve=curve)


def test_a_line_is_the_mean_over_attacks_and_seeds(make_cell: MakeCell) -> None:
    cells = [
        with_curve(make_cell("lsp", "dvae", seed=0), 0.0, 0.5, 1.0),
        with_curve(make_cell("ops", "dvae", seed=1), 0.5, 0.5, 0.5),
        with_curve(make_cell("none", "dvae"), 1.0, 1.0, 1.0),
        with_curve(make_cell("em", "dvae", status="failed"), 0.0, 0.0),
    ]
    (line,) = sparklines(cells).values()
    assert line.words == "25.0 % after epoch 1, 75.0 % after epoch 3"
    assert line.points == f"0,{0.75 * HEIGHT:g} {WIDTH / 2:g},{0.5 * HEIGHT:g} {WIDTH},{0.25 * HEIGHT:g}"


def test_only_epochs_that_all_curves_have_are_drawn(make_cell: MakeCell) -> None:
    cells = [with_curve(make_cell("lsp"), 0.1, None, 0.3), with_curve(make_cell("ops"), 0.1, 0.2, 0.3, 0.4)]
    (line,) = sparklines(cells).values()
    assert line.points.count(",") == 2
    assert "epoch 3" in line.words
    assert sparklines([with_curve(make_cell(), 0.5), make_cell("ops")]) == {}


def test_a_long_training_has_few_points_and_its_end(make_cell: MakeCell) -> None:
    (line,) = sparklines([with_curve(make_cell(), *([0.25] * 199), 0.75)]).values()
    assert 10 < line.points.count(",") <= 33
    assert line.points.endswith(f"{WIDTH},{HEIGHT / 4:g}")


def test_each_row_has_its_own_line(make_cell: MakeCell) -> None:
    cells = [
        with_curve(make_cell(a, d, victim=v), 0.0, height)
        for v, less in (("resnet18", 0.0), ("vgg", 0.125))
        for a in ("none", "lsp")
        for d, height in (("none", 0.5 - less), ("dvae", 1.0 - less))
    ]
    page = render_pages(cells, tables_of(frames_of(cells)), [])["index.html"]
    rows = re.findall(
        r'data-victim="(\w+)".*?data-defense="(\w+)".*?<polyline points="0,24 96,([\d.]+)"', page, re.DOTALL
    )
    assert sorted(rows) == [
        ("resnet18", "dvae", "0"),
        ("resnet18", "none", "12"),
        ("vgg", "dvae", "3"),
        ("vgg", "none", "15"),
    ]
    without = [replace(cell, curve=[]) for cell in cells]
    assert "polyline" not in render_pages(without, tables_of(frames_of(without)), [])["index.html"]
