"""What a printed page shows: letters that can be read, no closed toggles, no heading alone at the foot of a page."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
pytestmark = pytest.mark.browser
OpenPage = Callable[..., "Page"]
A4 = {"width": 718, "height": 1000}
PAGES = ("index.html", "methods.html", "cell.html#{key}")

SMALLEST = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const sizes = [];
    while (walker.nextNode()) {
        const { data, parentElement: parent } = walker.currentNode;
        if (!data.trim() || !parent.getClientRects().length || parent.closest(".hidden, script")) continue;
        const svg = parent.closest("svg[viewBox]");
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        sizes.push([0.75 * scale * parseFloat(getComputedStyle(parent).fontSize), data.trim()]);
    }
    return sizes.sort((a, b) => a[0] - b[0])[0];
}"""

CLINGING = """() => [...document.querySelectorAll("main *")]
    .filter((e) => getComputedStyle(e).breakAfter === "avoid-page")
    .filter((e) => !e.nextElementSibling || getComputedStyle(e.parentElement).display === "grid")
    .map((e) => e.outerHTML.slice(0, 150))"""


@pytest.fixture(params=PAGES)
def paper(request: pytest.FixtureRequest, open_page: OpenPage, site: str, cells: list[CellResult]) -> "Page":
    """Each page as it is printed."""
    page = open_page(f"{site}/{request.param.format(key=cells[0].key)}", viewport=A4)
    page.locator(".card").first.wait_for(state="attached")
    page.emulate_media(media="print")
    return page


def test_no_letter_is_below_seven_points(paper: "Page") -> None:
    size, text = paper.evaluate(SMALLEST)
    assert size >= 7, text


def test_headings_stay_with_what_follows_and_nothing_else_does(paper: "Page") -> None:
    """A break that is avoided behind the last child is avoided behind its card too, and Chromium then drops a break."""
    after = "(all) => new Set(all.map((heading) => getComputedStyle(heading).breakAfter)).size"
    assert paper.locator(":is(h2, h3):visible").first.evaluate("(e) => getComputedStyle(e).breakAfter") == "avoid-page"
    assert paper.locator(":is(h2, h3):visible").evaluate_all(after) == 1
    assert paper.evaluate(CLINGING) == []


def test_closed_toggles_are_left_out(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html", viewport=A4)
    closed = page.locator("summary:visible", has_text="Columns of leaderboard.csv")
    sync_api.expect(closed).to_have_count(1)
    page.locator("details.compared").first.evaluate("(table) => { table.open = true; }")
    page.emulate_media(media="print")
    sync_api.expect(closed).to_have_count(0)
    assert page.locator(":is(.group, #how) details:not([open], .words *):visible").count() == 0
    assert page.locator(".compared .words summary:visible").count() > 0, "the reasons of an open table are printed"
