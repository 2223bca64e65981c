"""Odd names, narrow screens and readers of screens: every page in a real browser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult
from leaderboard.site.methods import Method
from tests.leaderboard.publishing import publish

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[[str], "Page"]

AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
PHONE = {"width": 390, "height": 844}


def in_scheme(open_page: OpenPage, address: str, scheme: str) -> "Page":
    """The page in light or dark colors."""
    page = open_page(address)
    page.emulate_media(color_scheme=scheme)
    return page


HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd|'/C calc'!A0",
    "x" * 300,
    "مرحبا\u202eabc",
    "</script><img src=x>",
    "a|b&c=d#%",
]


def test_hostile_names_are_harmless(open_page: OpenPage, make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell(a, d, preset=HOSTILE[0], dataset=HOSTILE[3]) for a in ("none", *HOSTILE) for d in HOSTILE]
    cells = [
        replace(cell, key=f"{number:020x}", provenance={HOSTILE[4]: HOSTILE[0]}, logs={"poison": {HOSTILE[0]: "<b>"}})
        for number, cell in enumerate(cells)
    ]
    folder = publish(cells, tmp_path / "site", methods=[Method("defense", HOSTILE[0], description=HOSTILE[4])])
    page = open_page(folder["index.html"].as_uri())
    page.set_viewport_size(PHONE)
    for name in HOSTILE:
        page.locator("select[name=defense]").select_option(name)
        sync_api.expect(page.locator(".count")).to_have_text("1 of 6 rows")
        page.locator(".pick:visible").click()
        sync_api.expect(page.locator("tr.chosen")).to_have_count(1)
        page.evaluate("dispatchEvent(new HashChangeEvent('hashchange'))")
        sync_api.expect(page.locator("tr.chosen:visible")).to_have_count(1)
    longest = next(cell.key for cell in cells if cell.attack.text == cell.defense.text == HOSTILE[2])
    for name in (f"cell.html#{cells[-1].key}", f"cell.html#{longest}", "cell.html#%E0%A4%A", "methods.html"):
        page = open_page(f"{tmp_path.as_uri()}/site/{name}") if "%" not in name else page
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    for opened in page.context.pages:
        assert opened.locator("main img[src=x], main script:not([type])").count() == 0


LEFT_EDGES = """(element, word) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const start = walker.currentNode.data.indexOf(word);
        if (start < 0) continue;
        return [start, start + word.length - 1].map((at) => {
            const range = document.createRange();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + 1);
            return range.getBoundingClientRect().left;
        });
    }
}"""


def test_a_name_from_right_to_left_turns_no_sentence_around(
    open_page: OpenPage, make_cell: MakeCell, tmp_path: Path
) -> None:
    name = HOSTILE[3]
    cells = [
        make_cell(a, d, 0.95 if a == "none" else v, purify=v)
        for a in ("none", name)
        for d, v in (("none", 0.1), (name, 0.8), ("dvae", 0.9))
    ]
    folder = publish(cells, tmp_path / "site")["index.html"].parent.as_uri()
    for address, place, word in (
        (f"cell.html#{cells[-2].key}", "h1", "against"),
        ("index.html", ".answer", "80.0"),
        ("index.html", "section.group .facts", "l2:1"),
    ):
        left, right = open_page(f"{folder}/{address}").locator(place).first.evaluate(LEFT_EDGES, word)
        assert left < right, f"{word} in {place}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "methods.html", "cell.html#{key}"])
def test_a_phone_needs_no_sideways_scrolling(
    open_page: OpenPage, site: str, cells: list[CellResult], scheme: str, name: str
) -> None:
    page = in_scheme(open_page, f"{site}/{name.format(key=cells[0].key)}", scheme)
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_phone_shows_mean_and_cost_of_every_row_and_more_on_request(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html")
    page.set_viewport_size(PHONE)
    heads = page.locator(".board thead th.number:visible")
    sync_api.expect(heads).to_have_text(["mean %", "cost"])
    scroll = page.locator(".scroll:has(> .board)")
    assert scroll.evaluate("(box) => box.scrollWidth <= box.clientWidth")
    page.locator(".chooser summary").click()
    page.locator(".chooser input[value=worst_accuracy]").check()
    sync_api.expect(heads).to_have_text(["mean %", "worst %", "cost"])
    page.set_viewport_size({"width": 1440, "height": 900})
    sync_api.expect(heads).to_have_text(["mean %", "worst %", "cost"])
    page.locator("button[type=reset]").click()
    sync_api.expect(page.locator(".board thead th.curve")).to_be_visible()
    page.set_viewport_size(PHONE)
    sync_api.expect(heads).to_have_text(["mean %", "cost"])


def test_the_answer_on_a_phone_stands_before_the_facts_of_the_run(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html")
    page.set_viewport_size(PHONE)
    top = "(place) => place.getBoundingClientRect().top"
    answer, facts = (page.locator(f"{place}:visible").first.evaluate(top) for place in (".answers", ".run .facts"))
    assert answer < facts
    assert answer < 844 / 2


def test_the_differences_of_a_comparison_are_in_sight_on_a_phone(open_page: OpenPage, site: str) -> None:
    place = "cifar10|paper|vgg|bfloat16"
    page = open_page(f"{site}/index.html#first={place}|dvae&second={place}|iss (best per attack)")
    page.set_viewport_size(PHONE)
    assert page.locator("#compare .outcome").evaluate("(box) => box.scrollWidth <= box.clientWidth")
    line = page.locator("#compare tbody tr").first
    sync_api.expect(line.locator(".told")).to_have_text("+7.0 ± 3.5")
    assert line.evaluate("(row) => row.offsetHeight") < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "methods.html", "cell.html#{key}"])
def test_axe_finds_no_serious_violation(
    open_page: OpenPage, site: str, cells: list[CellResult], scheme: str, name: str
) -> None:
    page = in_scheme(open_page, f"{site}/{name.format(key=cells[0].key)}", scheme)
    page.wait_for_timeout(300)
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run({ preload: false }).then((result) => result.violations)")
    serious = [
        (violation["id"], node["html"][:200], node["failureSummary"][:200])
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert serious == []
