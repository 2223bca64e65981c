import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

from bench.results import CellResult
from leaderboard.page import page_assets, render_page
from leaderboard.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]
HOSTILE = "<script>alert(1)</script>"


def page_of(cells: list[CellResult]) -> str:
    frame = cells_frame(cells)
    return render_page(frame, leaderboard_frame(frame))


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_hostile_names_are_escaped_everywhere(make_cell: MakeCell) -> None:
    names = {"preset": HOSTILE, "dataset": HOSTILE, "victim": HOSTILE, "device": HOSTILE}
    cells = [make_cell(a, d, **names) for a in ("none", HOSTILE) for d in ("none", HOSTILE)]
    failed = make_cell(HOSTILE, HOSTILE, status="failed", seed=1, **{**names, "device": "x"})
    error = {"stage": HOSTILE, "kind": HOSTILE, "message": HOSTILE}
    cells = [replace(cell, defense=replace(cell.defense, uses=[HOSTILE])) for cell in cells]
    page = page_of([*cells, replace(failed, error=error, provenance={HOSTILE: HOSTILE})])
    assert "<script>alert" not in page
    assert page.count("</script>") == page_of([make_cell()]).count("</script>")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_hostile_names_stay_text_in_the_figure(make_cell: MakeCell) -> None:
    page = page_of([make_cell(a, d) for a in ("none", "lsp") for d in ("none", HOSTILE)])
    (figure,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    texts = [text for trace in json.loads(figure)["data"] for text in trace.get("text", [])]
    assert texts == ["&lt;script&gt;alert(1)&lt;/script&gt;"]


def test_nothing_is_loaded_from_elsewhere(matrix: list[CellResult]) -> None:
    links = Links()
    links.feed(page_of(matrix))
    assert sorted(links.found) == ["assets/plotly.min.js", "cells.csv", "data:,", "leaderboard.csv", "leaderboard.md"]
    assert set(page_assets()) == {"assets/plotly.min.js"}


def test_failed_and_absent_cells_are_listed(matrix: list[CellResult], make_cell: MakeCell) -> None:
    kept = [c for c in matrix if not (c.attack.name == "lsp" and c.seed and c.defense.name == "dvae")]
    page = page_of([*kept, make_cell("lsp", "dvae", status="failed", seed=1)])
    assert "out of memory" in page
    assert "dvae on resnet18: 1 of 9 cells" in page
    assert "2 missing" in page


def test_a_superseded_failure_is_not_listed(matrix: list[CellResult], make_cell: MakeCell) -> None:
    assert "out of memory" not in page_of([*matrix, make_cell("lsp", "dvae", status="failed", seed=1)])


def test_best_of_a_column_is_marked_among_ranked_rows_only(matrix: list[CellResult]) -> None:
    page = page_of(matrix)
    best = re.findall(r'<td class="number best"[^>]*>([^<]*)', page)
    assert best == ["90.0", "89.0", "93.0", "0.93", "93.0", "200 ms", "1.002×"]


def test_every_data_set_and_preset_has_a_section(make_cell: MakeCell) -> None:
    page = page_of([make_cell(dataset=d, preset=p) for d in ("cifar10", "svhn") for p in ("fast", "paper")])
    headings = re.findall(r"<h2>([^<]*) <span class=\"preset\">([^<]*)</span>", page)
    assert headings == [(d, f"preset {p}") for d in ("cifar10", "svhn") for p in ("fast", "paper")]
