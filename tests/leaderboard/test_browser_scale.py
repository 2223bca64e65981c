"""The published site in a real browser with several victims, 120 attacks and long names: it fits and is drawn."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.results import CellResult
from leaderboard.publish import publish

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[..., "Page"]
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
NOT_IDLE = "window.requestIdleCallback = () => 0;"
DRAWN = "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('.scatterlayer .trace'))"
LONG = "x" * 300


@pytest.fixture(scope="module")
def site(make_cell: MakeCell, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three victims, 120 attacks, two of them and a defense with names of 300 characters."""
    attacks = [
        "none",
        *(f"attack-{i:03}" for i in range(118)),
        f"words {'and more ' * 33}"[:300],
        f"attack:{LONG}"[:300],
    ]
    defenses = {"none": 0.3, "dvae": 0.9, "iss-jpeg": 0.8, f"from-file:path={LONG}"[:300]: 0.7}
    curve = [{"epoch": e, "train_accuracy": 0.9, "clean_test_accuracy": 0.1 * e} for e in (1, 2)]
    cells = [
        make_cell(attack, defense, 0.95 if attack == "none" else accuracy, victim=victim, purify=accuracy)
        for victim in ("resnet18", "vgg", "vit")
        for attack in attacks
        for defense, accuracy in defenses.items()
    ]
    cells = [replace(cell, key=f"{number:020x}", curve=curve) for number, cell in enumerate(cells)]
    out: Path = tmp_path_factory.mktemp("scale") / "site"
    return publish(cells, out)["index.html"].parent.as_uri()


def boxes(page: "Page") -> list[list[float]]:
    """Of every chart: the height that is reserved for it, and that of what is drawn."""
    heights = "(plot) => [plot.offsetHeight, plot.querySelector('.main-svg').getBoundingClientRect().height]"
    found: list[list[float]] = page.locator(".plot").evaluate_all(f"(plots) => plots.map({heights})")
    return found


def test_charts_out_of_sight_are_drawn_when_idle_in_the_room_kept_for_them(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html", viewport=DESK)
    before = page.evaluate("document.documentElement.scrollHeight")
    page.wait_for_function(DRAWN)
    assert [abs(reserved - drawn) < 3 for reserved, drawn in boxes(page)] == [True] * 3
    assert page.evaluate("document.documentElement.scrollHeight") == before, "nothing moves when a chart is drawn"
    picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("L")
    for box in page.locator(".plot").evaluate_all(
        "(plots) => plots.map((p) => Object.values(p.getBoundingClientRect().toJSON()))"
    ):
        left, top, width, height = (int(value) for value in box[:4])
        low, high = picture.crop((left, top, left + width, top + height)).getextrema()
        assert high - low > 60, "the chart is on the picture"


def test_a_chart_that_a_filter_hid_is_drawn_when_it_comes_back(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html#victim=vgg", viewport=DESK)
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length > 0")
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function(DRAWN)
    widths = "(plots) => plots.map((plot) => plot.querySelector('.main-svg').clientWidth - plot.clientWidth)"
    assert page.locator(".plot").evaluate_all(widths) == [0, 0, 0]


AT_PRINT = """
window.addEventListener("afterprint", () => {
  window.printed = [...document.querySelectorAll(".plot")].map((plot) => {
    const text = plot.querySelector(".xtick text");
    return [Boolean(text), plot.querySelector(".main-svg")?.clientWidth, text && getComputedStyle(text).fill];
  });
});"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "cell.html#00000000000000000005"])
def test_charts_are_drawn_for_paper(open_page: OpenPage, site: str, name: str, scheme: str) -> None:
    page = open_page(f"{site}/{name}", NOT_IDLE + AT_PRINT, viewport=DESK, color_scheme=scheme)
    page.locator(".plot").first.wait_for(state="attached")
    page.pdf(format="A4")
    printed = page.evaluate("window.printed")
    assert len(printed) == (3 if name == "index.html" else 1)
    for drawn, width, color in printed:
        assert drawn
        assert width <= 600, "an A4 page is no wider"
        assert color == "rgb(90, 103, 120)", "dark letters, for paper is white"
    assert page.locator("html.printing").count() == 0
