"""One rule for the order of attacks, and every view follows it: adaptive attacks stand last, marked as such."""

import html
import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from bench.store.results import CellResult
from leaderboard.export.curves import print_curves
from leaderboard.export.latex import latex_text
from leaderboard.export.terminal import print_leaderboard
from leaderboard.export.text import csv_text, markdown_text
from leaderboard.site.page import render_pages
from leaderboard.site.views import tables_of
from leaderboard.tables.adaptive import in_order
from leaderboard.tables.columns import accuracy_columns
from leaderboard.tables.curves import curves_frame
from leaderboard.tables.table import Frames, frames_of

MakeCell = Callable[..., CellResult]
GRAY, JPEG = "adaptive:base=em:through=iss-gray", "adaptive:base=em:through=iss-jpeg"
ORDER = ["ar", "lsp", GRAY, JPEG]


@pytest.fixture(scope="module")
def cells(make_cell: MakeCell) -> list[CellResult]:
    """Three seeds of two defenses; each adaptive attack is stronger than the others."""
    found = {"none": 0.9, "ar": 0.8, "lsp": 0.7, GRAY: 0.4, JPEG: 0.5}
    made = [make_cell(a, d, v, seed=s) for a, v in found.items() for d in ("none", "dvae", "jpeg") for s in range(3)]
    # So that they count for the best known attack of dvae, which has no parameters here.
    return [
        replace(c, attack=replace(c.attack, parameters={"through": "dvae"})) if c.attack.name == "adaptive" else c
        for c in made
    ]


@pytest.fixture(scope="module")
def frames(cells: list[CellResult]) -> Frames:
    return frames_of(cells)


@pytest.fixture(scope="module")
def page(cells: list[CellResult], frames: Frames) -> str:
    return html.unescape(render_pages(cells, tables_of(frames), [])["index.html"])


def printed(frames: Frames) -> str:
    file = io.StringIO()
    print_leaderboard(frames.board, Console(file=file, width=120, color_system=None))
    return file.getvalue()


def test_the_rule() -> None:
    assert in_order(["tap", JPEG, "ops+" + GRAY, "em", "tap", "none"]) == ["em", "none", "tap", JPEG, "ops+" + GRAY]


def test_the_board_and_its_files(frames: Frames) -> None:
    assert list(accuracy_columns(frames.board)) == ORDER
    head = csv_text(frames.board).partition("\n")[0]
    assert re.findall(r"accuracy\[([^]]*)\]", head) == ORDER


def test_the_terminal(frames: Frames) -> None:
    heads = [line for line in printed(frames).splitlines() if re.match("accuracy by|adaptive attacks  ", line)]
    oblivious, adaptive = map(str.split, heads)
    assert oblivious == ["accuracy", "by", "attack", "ar", "lsp"]
    assert adaptive == ["adaptive", "attacks", "best", "known", "attack", GRAY, JPEG]
    assert "\ndvae                           40.0" in printed(frames)


def test_markdown(frames: Frames) -> None:
    heads = [line.strip("| ").split(" | ") for line in markdown_text(frames.board).splitlines() if "defense |" in line]
    assert heads[0][-3:] == ["ar", "lsp", "flags"]
    assert heads[1] == ["defense", "best known attack %", GRAY, JPEG]
    assert "Adaptive attacks: crafted with knowledge of a defense" in markdown_text(frames.board)
    assert "| dvae | 40.0 | 40.0 | 50.0 |" in markdown_text(frames.board)


def test_latex(frames: Frames) -> None:
    lines = latex_text(frames.board).splitlines()
    above = next(i for i, line in enumerate(lines) if line.startswith("\\multicolumn"))
    heads = lines[above + 2].removesuffix(r" \\").split(" & ")
    assert lines[above] == rf"\multicolumn{{{len(heads) - 3}}}{{l}}{{}} & \multicolumn{{3}}{{c}}{{adaptive attacks}} \\"
    assert heads[:3] == ["defense", "ar", "lsp"]
    assert heads[-3:] == [r"best known attack \%", *(name.replace("-", "{-}") for name in (GRAY, JPEG))]
    (row,) = (line for line in lines if line.startswith("dvae"))
    assert row.endswith(r"& 40.0 & 40.0 & 50.0 \\"), "no value is the best against an attack that knows one defense"


def test_no_view_has_a_place_for_adaptive_attacks_without_one(cells: list[CellResult]) -> None:
    frames = frames_of([cell for cell in cells if cell.attack.name != "adaptive"])
    for text in (printed(frames), markdown_text(frames.board), latex_text(frames.board)):
        assert not re.search("adaptive|best known", text, re.IGNORECASE)


def test_the_table_of_the_page(page: str) -> None:
    heads = re.findall(r'<th class="number at at(\d)( adaptive)?" data-name="([^"]*)"', page)
    assert heads == [(str(n), " adaptive" if name in (GRAY, JPEG) else "", name) for n, name in enumerate(ORDER, 1)]
    assert page.count("<small>adaptive</small> <span") == 4, "two in the table, two in the heat map"
    chosen = page.partition("<legend>Accuracy in % by adaptive attack</legend>")[2].partition("</fieldset>")[0]
    assert re.findall(r'title="([^"]*)"', chosen) == [GRAY, JPEG]


def test_the_heat_map_of_the_page(page: str) -> None:
    heat = page.partition('<table class="heat')[2].partition("</thead>")[0]
    assert re.findall(r'<th scope="col"(?: class="at at\d([^"]*)" title="([^"]*)")?', heat) == [
        *(("", ""), ("", "ar"), ("", "lsp")),
        *((" adaptive", GRAY), (" adaptive", JPEG)),
    ]


def test_the_facts_of_a_group(page: str) -> None:
    assert re.findall(r"<dt>(attacks|adaptive attacks)</dt><dd>([^<]*)", page) == [
        ("attacks", "ar (l2:1), lsp (l2:1)"),
        ("adaptive attacks", f"{GRAY} (l2:1), {JPEG} (l2:1)"),
    ]


def test_only_the_other_attacks_are_expected_of_every_defense(make_cell: MakeCell, cells: list[CellResult]) -> None:
    kept = [cell for cell in cells if (cell.attack.name, cell.defense.name) != ("adaptive", "jpeg")]
    assert "Not run:" not in render_pages(kept, tables_of(frames_of(kept)), [])["index.html"]


def test_the_heat_map_as_a_figure(frames: Frames) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'purify-bench[dev]' for the tests of figures")
    from leaderboard.figures.captions import heat_caption
    from leaderboard.figures.heat_map import CLEAN, heat_map, table_of
    from leaderboard.figures.style import styled

    columns = table_of(frames.board)[1]
    assert columns == [CLEAN, *ORDER]
    with styled():
        axes = heat_map(frames.board, "double").axes[0]
    (mark,) = (text for text in axes.texts if text.get_text() == "adaptive")
    (line,) = axes.lines
    assert [round(x) for x in line.get_xdata()] == [3, 5], "below the last two of five columns"
    assert mark.xy == pytest.approx((5, 0), abs=0.1)
    assert "Last, the adaptive attacks: crafted with knowledge" in heat_caption(frames.board, frames.cells, columns)


def test_curves(make_cell: MakeCell) -> None:
    def jpeg(attack: str, quality: int) -> CellResult:
        cell = make_cell(attack, f"jpeg:quality={quality}", quality / 100)
        return replaced(cell, "defense", {"quality": quality})

    def rate(attack: str, value: float) -> CellResult:
        cell = make_cell(f"{attack}:poison_rate={value}", "dvae", value)
        return replaced(cell, "attack", {"poison_rate": value})

    cells = [jpeg(attack, quality) for attack in (GRAY, "lsp", "ar") for quality in (10, 50, 90)]
    cells += [make_cell(attack, "none", 0.1) for attack in (GRAY, "lsp", "ar")]
    cells += [rate(attack, value) for attack in (JPEG, "lsp") for value in (0.2, 0.4, 0.8)]
    board = frames_of(cells)
    found = curves_frame(board.cells)
    assert list(dict.fromkeys(found["component"])) == ["lsp", JPEG, "jpeg"]
    assert list(dict.fromkeys(found.loc[found["component"] == "jpeg", "against"])) == ["ar", "lsp", GRAY]
    file = io.StringIO()
    print_curves(board.cells, Console(file=file, width=200, color_system=None))
    assert f"undefended ar 10.0, undefended lsp 10.0, undefended {GRAY} 10.0" in file.getvalue()


def replaced(cell: CellResult, kind: str, parameters: dict[str, float]) -> CellResult:
    return replace(cell, **{kind: replace(getattr(cell, kind), parameters=parameters)})
