"""The published page in a real browser, from a folder, without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.results import CellResult
from leaderboard.publish import publish

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="install Chromium, for example: apt install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser", matrix: list[CellResult], tmp_path: Path) -> Iterator["Page"]:
    """The open page; fails the test if the browser complained about anything."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(publish(matrix, tmp_path)["index.html"].as_uri())
    yield page
    context.close()
    assert complaints == []


def defenses(page: "Page") -> list[str]:
    return page.locator(".board tbody td.name > span:first-child").all_inner_texts()


def test_the_board_is_sorted_by_a_click(page: "Page") -> None:
    by_rank = ["dvae", "iss-jpeg", "iss-gray", "iss (best per attack)", "none"]
    by_cost = ["dvae", "iss (best per attack)", "iss-jpeg", "iss-gray", "none"]
    assert defenses(page) == by_rank
    page.get_by_role("button", name="cost", exact=True).click()
    sync_api.expect(page.locator(".board tbody td.name").nth(1)).to_contain_text("best per attack")
    assert defenses(page) == by_cost


def test_the_board_is_sorted_from_the_keyboard(page: "Page") -> None:
    page.get_by_role("button", name="cost", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    sync_api.expect(page.locator("th[aria-sort=ascending]")).to_have_text("cost")
    sync_api.expect(page.locator(".board tbody td.name").first).to_contain_text("none")


def test_rows_without_a_rank_sort_last(page: "Page") -> None:
    for direction in ("descending", "ascending"):
        page.get_by_role("button", name="#").click()
        sync_api.expect(page.locator(f"th[aria-sort={direction}]")).to_have_count(1)
        page.wait_for_function("document.querySelector('.board tbody tr:last-child td').dataset.sort === ''")


def test_the_scatter_is_drawn_with_its_front(page: "Page") -> None:
    sync_api.expect(page.locator(".plot .scatterlayer .points path")).to_have_count(4)
    sync_api.expect(page.locator(".plot .textpoint").first).to_be_visible()
    sync_api.expect(page.locator(".plot .legendtext", has_text="Pareto front")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(page: "Page", scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 390, "the board scrolls in its own box"
