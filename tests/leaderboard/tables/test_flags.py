"""Every flag: who raises it, and that the page explains it."""

import html
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.store.results import CellResult
from leaderboard.export.text import described_flags
from leaderboard.site.page import render_pages
from leaderboard.site.views import Tables, tables_of
from leaderboard.tables.columns import BOARD_COLUMNS, as_text, typed
from leaderboard.tables.flags import Flag, Raised, has
from leaderboard.tables.table import frames_of

MakeCell = Callable[..., CellResult]


@pytest.fixture(scope="module")
def doubtful(make_cell: MakeCell) -> Tables:
    """Two boards with everything that a flag is raised for."""

    def cell(attack: str, defense: str, accuracy: float = 0.8, **changes: object) -> CellResult:
        return make_cell(attack, defense, accuracy, preset="fast", **changes)

    train = {"catastrophic_overfitting": True}
    cells = [
        *(cell("none", name, 0.95) for name in ("none", "iss-gray", "iss-jpeg", "at", "at-fast", "memo", "gone")),
        cell("lsp", "none", 0.94),
        cell("lsp", "iss-gray", exclusive=False),
        cell("lsp", "iss-jpeg", exclusive=None),
        cell("lsp", "at", logs={"poison": {"converged": False}, "train": train}),
        cell("lsp", "at-fast", logs={"train": {"catastrophic_overfitting": "not checked"}}, device="Other GPU"),
        cell("lsp", "memo", purify=0.3, repeats=[0.3, 0.001, 0.001]),
        cell("lsp", "gone", status="failed"),
    ]
    elsewhere = [replace(cells[8], clean_test_accuracy=0.7), replace(cells[9], costs={})]
    return tables_of(frames_of(cells, elsewhere))


def chips(page: str) -> dict[str, str]:
    """Text and tooltip of every flag on the board."""
    found = re.findall(r'<span class="chip (?:bad|warn)" title="([^"]*)">([^<]*)</span>', page.split("</table>")[0])
    return {html.unescape(text): html.unescape(title) for title, text in found}


def test_every_flag_on_the_board_is_explained_in_its_tooltip_and_in_the_text(doubtful: Tables) -> None:
    page = render_pages([], doubtful, [])["index.html"]
    shown = {str(one): one.flag for flags in doubtful.board["flags"] for one in flags}
    assert set(shown.values()) == set(Flag), "this board has every flag"
    tooltips = chips(page)
    assert {re.sub(r"^\d+ ", "", text) for text in tooltips} == set(shown)
    for text, tooltip in tooltips.items():
        assert tooltip == f"{text}: {shown[re.sub('^[0-9]+ ', '', text)].explanation}"
    terms = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.split('<dl class="columns marks">')[1].split("</dl>")[0])
    assert {name: html.unescape(text) for name, text in terms}.items() >= {f.value: f.explanation for f in Flag}.items()


def test_the_name_of_an_attack_is_no_flag(make_cell: MakeCell) -> None:
    names = ("oracle", "missing", "a, b", "several devices")
    cells = [make_cell(name, logs={"poison": {"converged": False}}) for name in names]
    board = tables_of(frames_of([*cells, make_cell("none", accuracy=0.95)])).board
    flags = "attack not converged: a, b and missing and oracle and several devices"
    assert {str(one): one.flag for one in board["flags"][0]} == {flags: Flag.NOT_CONVERGED}
    assert described_flags(board.iloc[0]) == flags
    defended = [make_cell(name, "dvae", logs={"poison": {"converged": False}}) for name in names]
    page = render_pages(defended, tables_of(frames_of(defended)), [])["index.html"]
    assert '<tr class="single"' in page
    assert '<tr class="oracle"' not in page


def test_flags_are_values_until_they_are_written() -> None:
    flags = (Raised(Flag.ORACLE), Raised(Flag.NOT_CONVERGED, ("a, b", "c")))
    assert has(Flag.NOT_CONVERGED, flags)
    assert not has(Flag.FAILED, flags)
    frame = typed([{"flags": flags, "device": ("CPU", "GPU")}, {}], {n: BOARD_COLUMNS[n] for n in ("flags", "device")})
    assert frame["flags"].tolist() == [flags, ()]
    text = as_text(frame)
    assert text["flags"].tolist() == ["oracle, attack not converged: a, b and c", ""]
    assert text["device"].tolist() == ["CPU + GPU", ""]
