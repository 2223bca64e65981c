"""The published site in a real browser with several victims, 120 attacks and long names: it fits and is drawn."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from bench.store.results import CellResult
from tests.leaderboard.publishing import publish

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[..., "Page"]
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
NOT_IDLE = "window.requestIdleCallback = () => 0;"
HELD_BACK = "window.waiting = []; window.requestIdleCallback = (callback) => window.waiting.push(callback);"
VICTIMS = {"resnet18": 0.0, "vgg": 0.02, "vit": 0.04}
"""Points of accuracy that each victim loses, so that no two charts show the same."""
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
        make_cell(attack, defense, 0.95 if attack == "none" else accuracy - less, victim=victim, purify=accuracy)
        for victim, less in VICTIMS.items()
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
    page = open_page(f"{site}/index.html", HELD_BACK, viewport=DESK)
    page.wait_for_function("window.waiting.length > 0")
    assert page.locator(".plot .main-svg").count() == 0, "none is in sight"
    before = page.evaluate("document.documentElement.scrollHeight")
    kept = page.locator(".plot").evaluate_all("(plots) => plots.map((plot) => plot.offsetHeight)")
    while page.evaluate("window.waiting.length"):
        page.evaluate("window.waiting.shift()()")
    assert page.evaluate(DRAWN)
    assert kept == [400] * 3
    assert boxes(page) == [[400, 400]] * 3
    assert page.evaluate("document.documentElement.scrollHeight") == before, "nothing moves when a chart is drawn"
    picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("L")
    for box in page.locator(".plot").evaluate_all(
        "(plots) => plots.map((p) => Object.values(p.getBoundingClientRect().toJSON()))"
    ):
        left, top, width, height = (int(value) for value in box[:4])
        low, high = picture.crop((left, top, left + width, top + height)).getextrema()
        assert high - low > 60, "the chart is on the picture"


def test_the_victim_filter_draws_the_chart_of_the_victim(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html#victim=vgg", viewport=DESK)
    for victim, drawn in (("vgg", 1), ("resnet18", 2), ("vit", 3), ("vgg", 3)):
        page.locator("select[name=victim]").select_option(victim)
        page.wait_for_function("document.querySelector('section.group:not([hidden]) .plot .scatterlayer .trace')")
        plot = page.locator(".plot:visible")
        accuracies = "(plot) => plot.data.filter((trace) => trace.meta === 'single').flatMap((trace) => trace.y).sort()"
        expected = [round(100 * (accuracy - VICTIMS[victim]), 1) for accuracy in (0.7, 0.8, 0.9)]
        assert plot.evaluate(accuracies) == pytest.approx(expected)
        assert plot.evaluate("(plot) => plot.querySelector('.main-svg').clientWidth - plot.clientWidth") == 0
        assert page.locator(".plot .scatterlayer").count() == drawn, "the others are drawn when they are looked for"


def test_the_hover_cuts_a_long_name_and_its_row_has_it_whole(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html#victim=vgg", viewport=DESK)
    name = f"from-file:path={LONG}"[:300]
    plot = page.locator(".plot:visible")
    plot.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('.plot path.point').length === 3")
    number = page.locator(f"tr[data-victim=vgg][data-defense='{name}']").get_attribute("data-row")
    trace = "(plot) => plot.data.find((trace) => trace.meta === 'single').customdata"
    box = plot.locator("path.point").nth(plot.evaluate(trace).index(int(number or -1))).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    sync_api.expect(plot.locator(".hoverlayer")).to_contain_text(f"{name[:59]}…")
    label = plot.locator(".hoverlayer .hovertext").bounding_box()
    assert label is not None
    assert label["width"] < 700
    page.mouse.down()
    page.mouse.up()
    assert (page.locator("tr.chosen .pick").get_attribute("title") or "").startswith(name)


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


OUTSIDE = """() => [...document.querySelectorAll(".card")].flatMap((card) => {
    const edge = card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight);
    const seen = (element) => element.getClientRects().length && !element.closest(".hidden, .tile, .plot");
    const outside = (element) => element.getBoundingClientRect().right > edge + 1;
    return [...card.querySelectorAll("*")].filter((e) => seen(e) && outside(e)).map((e) => e.outerHTML.slice(0, 150));
})"""


@pytest.mark.parametrize("width", [718, 794, 1047])
@pytest.mark.parametrize("name", ["index.html", "index.html#column=attacks", "cell.html#00000000000000000005"])
def test_nothing_sticks_out_of_its_card_on_paper(open_page: OpenPage, site: str, name: str, width: int) -> None:
    """718 and 1047 pixels are an A4 page with its margins, upright and across."""
    page = open_page(f"{site}/{name}", viewport={"width": width, "height": 1000})
    page.locator(".card").first.wait_for(state="attached")
    page.emulate_media(media="print")
    assert page.locator(".card table:visible").count() > 0
    assert page.evaluate(OUTSIDE) == []


def test_paper_holds_flags_and_the_heat_map_of_twenty_attacks(
    open_page: OpenPage, make_cell: MakeCell, tmp_path: Path
) -> None:
    attacks = ["none", *(f"attack-{i:02}" for i in range(19)), LONG]
    logs = {"poison": {"converged": False}}
    defenses = ("none", "dvae", LONG)
    cells = [
        make_cell(a, d, seed=seed, logs=logs if d == LONG else {}, exclusive=False)
        for a in attacks
        for d in defenses
        for seed in (0, 1)
    ]
    page = open_page(publish(cells, tmp_path / "site")["index.html"].as_uri(), viewport={"width": 718, "height": 1000})
    page.emulate_media(media="print")
    assert page.locator(".board .chip:visible").count() > 0
    assert page.locator(":is(button:not(.board *), input):visible").count() == 0, "nothing to press on paper"
    assert "click" not in page.locator("section.group").inner_text()
    kept = "(list) => [getComputedStyle(list).breakInside, getComputedStyle(list).breakAfter]"
    assert page.locator("section.group > .facts").evaluate(kept) == ["avoid-page", "avoid-page"], "with its heading"
    assert page.evaluate(OUTSIDE) == []


def headings(page: "Page") -> list[str]:
    return page.locator(".board thead th:visible").all_inner_texts()


USUAL = ["#", "defense", "victim", "mean %", "worst %", "clean %", "cost", "× training"]
CURVE = "training"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_board_of_many_attacks_fits_a_desk(open_page: OpenPage, site: str, scheme: str) -> None:
    page = open_page(f"{site}/index.html", viewport=DESK, color_scheme=scheme)
    assert headings(page) == [*USUAL, CURVE]
    assert page.evaluate("document.documentElement.scrollWidth") == 1440
    assert page.locator(".scroll:has(.board)").evaluate("(scroll) => scroll.scrollWidth - scroll.clientWidth") <= 0
    assert page.locator(".board thead").evaluate("(head) => head.offsetHeight") < 100
    assert page.locator(".board tbody tr").evaluate_all("(rows) => Math.max(...rows.map((r) => r.offsetHeight))") < 140


def test_columns_are_chosen_from_the_keyboard_and_stand_in_the_address(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html", viewport=DESK)
    sync_api.expect(page.get_by_label("rehearsal")).to_be_hidden()
    page.locator("summary", has_text="Columns").first.press("Enter")
    for label in ("energy", "attack-007", "clean %"):
        page.get_by_label(label, exact=True).press("Space")
    assert headings(page) == [*(name for name in USUAL if name != "clean %"), "energy", "attack-007", CURVE]
    again = open_page(page.url)
    assert headings(again) == headings(page)
    page.get_by_role("button", name="Reset").click()
    assert headings(page) == [*USUAL, CURVE]
    assert "#" not in page.url
    page.get_by_label("all attacks").check()
    assert len(headings(page)) == len(USUAL) + 121
    page.locator("select[name=attack]").select_option("attack-003")
    assert headings(page) == [*USUAL, "attack-003", CURVE], "the attack that is looked for, whatever is chosen"
    while page.locator(".chooser input:checked").count():
        page.locator(".chooser input:checked").first.uncheck()
    page.locator("select[name=attack]").select_option("")
    assert headings(page) == headings(open_page(page.url)) == ["#", "defense", "victim"]


@pytest.mark.parametrize(("size", "fixed"), [(DESK, 3), (PHONE, 2)])
def test_the_first_columns_stay_while_the_table_scrolls(
    open_page: OpenPage, site: str, size: dict[str, int], fixed: int
) -> None:
    """Rank, defense and victim; on a phone the victim stands under the defense."""
    page = open_page(f"{site}/index.html#column=attacks&column=flags", viewport=size)
    places = f"(cells) => cells.slice(0, {fixed}).map((cell) => cell.getBoundingClientRect().left)"
    first = page.locator(".board tbody tr").first.locator("> *")
    before = first.evaluate_all(places)
    page.locator(".scroll:has(.board)").evaluate("(scroll) => (scroll.scrollLeft = 2000)")
    assert page.locator(".scroll:has(.board)").evaluate("(scroll) => scroll.scrollLeft") == 2000
    assert first.evaluate_all(places) == before == sorted(set(before))
    sync_api.expect(first.nth(fixed - 1)).to_contain_text("resnet18")
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_long_names_are_cut_and_can_be_read_whole(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html#column=attacks", viewport=PHONE)
    name = f"from-file:path={LONG}"[:300]
    long = page.locator(f".board .pick[title^='{name}']").first
    assert long.evaluate("(e) => e.offsetHeight") < 80
    assert page.locator(f".heat th[title='{name}']").first.evaluate("(e) => e.offsetHeight") < 110
    heads = page.locator(".board thead th").evaluate_all("(heads) => Math.max(...heads.map((h) => h.offsetWidth))")
    assert heads <= 200


def test_without_javascript_all_columns_are_shown(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html", viewport=DESK, java_script_enabled=False)
    assert len(headings(page)) > len(USUAL) + 120
    assert page.locator(".board tbody tr:visible").count() == 12
    for needs_javascript in ("#filters", "#compare"):
        sync_api.expect(page.locator(needs_javascript)).to_be_hidden()
    sync_api.expect(page.locator(".heat").first).to_be_visible()
    sync_api.expect(page.get_by_text("The chart needs JavaScript").first).to_be_visible()
