"""The pages of cells and of methods in a real browser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult
from bench.store.scores import SCORES
from tests.leaderboard.publishing import publish

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[[str], "Page"]


ROWS = ("clean", "poisoned", "perturbation", "purified", "residual")


def test_a_number_leads_to_its_cell_and_images(page: "Page") -> None:
    page.locator(".heat").first.locator("tbody tr", has_text="iss-jpeg").locator("a").nth(1).click()
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("iss-jpeg against lsp")
    for text in ("--attacks lsp --defenses iss-jpeg", "liu2023iss", "residual", "seed 0", "PSNR 34.3 dB"):
        sync_api.expect(page.locator("main")).to_contain_text(text)
    sheet = page.get_by_role("img", name="Contact sheet of 12")
    sheet.scroll_into_view_if_needed()
    sync_api.expect(sheet).to_be_visible()
    page.wait_for_function("[...document.images].every((image) => image.naturalWidth === 12 * 32)")
    assert page.locator(".sheet .tile").count() == 5 * 12
    sync_api.expect(page.locator("#curve .scatterlayer .trace")).to_have_count(2)
    sync_api.expect(page.locator("table", has_text="sha256 of the data")).to_contain_text("c" * 64)
    page.get_by_role("link", name="2", exact=True).click()
    sync_api.expect(page.locator("main .where")).to_contain_text("seed 2")
    page.get_by_role("link", name="16.0 %").click()
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("none against lsp")
    page.go_back()
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("iss-jpeg against lsp")


def test_a_command_breaks_between_its_options(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/cell.html#attack=lsp&defense=iss-jpeg&victim=vgg&seed=1")
    page.set_viewport_size({"width": 390, "height": 844})
    options = page.locator(".command span")
    sync_api.expect(options.nth(1)).to_be_visible()
    assert page.locator(".command").first.inner_text().startswith("bench run --")
    lines = options.evaluate_all("all => all.map((one) => one.getBoundingClientRect().height / 13)")
    assert len(lines) > 5
    assert max(lines) < 2, lines  # each in one line, whose height is 1.5 times the 13 pixels of a letter


def test_a_cell_has_an_address_by_name(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/cell.html#attack=lsp&defense=iss-jpeg&victim=vgg&seed=1")
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("iss-jpeg against lsp")
    sync_api.expect(page.locator("main .where")).to_contain_text("victim vgg · bfloat16 · seed 1")
    sync_api.expect(page.locator("#curve .scatterlayer .trace")).to_have_count(2)
    page.get_by_role("link", name="Address by name").click()
    expected = "dataset=cifar10&preset=paper&victim=vgg&precision=bfloat16&attack=lsp&defense=iss-jpeg&seed=1"
    page.wait_for_function(f"location.hash === '#{expected}'")
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("iss-jpeg against lsp")
    page.goto(f"{site}/cell.html#attack=lsp&defense=iss-jpeg&seed=1")
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("2 cells")
    page.get_by_role("link", name="resnet18").click()
    sync_api.expect(page.locator("main .where")).to_contain_text("victim resnet18 · bfloat16 · seed 1")
    page.goto(f"{site}/cell.html#attack=lsp&defense=nothing")
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("No such cell")


def test_links_by_the_selection_of_a_data_set_lead_to_its_name(
    open_page: OpenPage, make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [make_cell("lsp", d, 0.9, dataset="npz:path=a.npz") for d in ("none", "dvae")]
    site = publish(cells, tmp_path / "site")["index.html"].parent.as_uri()
    page = open_page(f"{site}/cell.html#attack=lsp&defense=dvae&dataset=npz")
    for data in ("npz", "npz:path=a.npz"):
        page.goto(f"{site}/cell.html#attack=lsp&defense=dvae&dataset={data}")
        sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("dvae against lsp")
        sync_api.expect(page.locator("main .where")).to_contain_text("npz · preset paper")
        address = page.get_by_role("link", name="Address by name").get_attribute("href")
        assert str(address).startswith("#dataset=npz&")
        page.goto(f"{site}/index.html#row={data}|paper|resnet18|bfloat16|dvae&data={data}")
        sync_api.expect(page.locator(".board tr.chosen .pick")).to_have_text("dvae")
        sync_api.expect(page.locator("select[name=data]")).to_have_value("npz")
    page.goto(f"{site}/cell.html#attack=lsp&defense=dvae&dataset=other")
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("No such cell")


def test_two_versions_of_an_image_are_compared_in_one_place(page: "Page") -> None:
    page.locator(".heat").first.locator("tbody tr", has_text="iss-jpeg").locator("a").nth(1).click()
    share = page.get_by_role("slider", name="Share of the left image")
    sync_api.expect(share).to_have_attribute("aria-valuetext", "50 % poisoned, 50 % purified")
    for _ in range(10):
        share.press("ArrowRight")
    sync_api.expect(share).to_have_attribute("aria-valuetext", "60 % poisoned, 40 % purified")
    left, right = page.locator(".stage .under"), page.locator(".stage .over")
    sync_api.expect(left).to_have_css("clip-path", "inset(0px 40% 0px 0px)")
    strips = {name: page.locator(".sheet .tile img").nth(n).get_attribute("src") for n, name in enumerate(ROWS)}
    for layer, name in ((left, "poisoned"), (right, "purified")):
        sync_api.expect(layer.locator("img")).to_have_attribute("src", str(strips[name]))
    page.locator(".slide select[name=left]").select_option("clean")
    page.locator(".slide select[name=image]").select_option(label="3")
    sync_api.expect(left.locator("img")).to_have_attribute("src", str(strips["clean"]))
    for layer in (left, right):
        sync_api.expect(layer.locator("img")).to_have_attribute("style", "width: 1200%; left: -200%;")
    page.get_by_role("link", name="14.0 %").click()
    sync_api.expect(share).to_have_attribute("aria-valuetext", "50 % clean, 50 % poisoned")
    sync_api.expect(page.locator(".slide select[name=left] option")).to_have_text(
        ["clean", "poisoned", "perturbation ×16"]
    )


def test_scores_are_named_in_words_on_the_page_of_a_cell(
    open_page: OpenPage, make_cell: MakeCell, tmp_path: Path
) -> None:
    cell = replace(make_cell(), scores={**dict.fromkeys(SCORES, 0.25), "of_another_release": 1})
    page = open_page(f"{publish([cell], tmp_path / 'site')['index.html'].parent.as_uri()}/cell.html#{cell.key}")
    for name, score in SCORES.items():
        row = page.locator("tr", has=page.get_by_title(f"score_{name} in cells.csv", exact=True))
        assert row.locator("> *").all_inner_texts() == [score.label, "0.25", score.unit, score.explanation]
    tables = page.locator("section.card", has=page.locator("[title^=score_]")).all_inner_texts()
    assert "of another release" in "".join(tables)
    assert "_" not in "".join(tables), "the names of code are in the tooltips"


def test_a_cell_is_reached_from_the_keyboard(page: "Page") -> None:
    page.keyboard.press("Tab")
    sync_api.expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("summary", has_text="Columns").first.press("Enter")
    page.get_by_label("all attacks").press("Space")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.board td a')"):
            break
    else:
        pytest.fail("no number of the board was reached")
    page.keyboard.press("Enter")
    sync_api.expect(page.get_by_role("heading", level=1)).to_contain_text("against")


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([0.24, 0.2, 0.33], "median of 3 runs: 200 ms to 330 ms"),
        ([0.5, 0.01, 0.02], "first run, which was slower than its repeats, of 3 runs: 10 ms to 500 ms"),
    ],
)
def test_the_page_of_a_cell_says_the_range_of_its_runs(
    open_page: OpenPage, make_cell: MakeCell, tmp_path: Path, runs: list[float], text: str
) -> None:
    cell = make_cell("lsp", "gray", repeats=runs)
    page = open_page(f"{publish([cell], tmp_path / 'site')['index.html'].parent.as_uri()}/cell.html#{cell.key}")
    assert f"whole stage, {text}" in page.locator("table", has_text="whole stage").inner_text()


def test_a_cell_without_artifacts_says_so(open_page: OpenPage, make_cell: MakeCell, tmp_path: Path) -> None:
    site = publish([make_cell()], tmp_path / "site")["index.html"].parent.as_uri()
    page = open_page(f"{site}/cell.html#{make_cell().key}")
    sync_api.expect(page.locator("main")).to_contain_text("No contact sheet")


def test_a_failed_cell_says_why_and_what_others_reach(open_page: OpenPage, make_cell: MakeCell, tmp_path: Path) -> None:
    failed = make_cell("lsp", "mine", status="failed")
    site = publish([make_cell(), failed], tmp_path / "site")["index.html"].parent.as_uri()
    page = open_page(f"{site}/cell.html#{failed.key}")
    assert page.locator(".answers dd").all_inner_texts()[:4] == [
        "–",
        "not measured",
        "50.0 %",
        "same attack, victim and seed",
    ]
    sync_api.expect(page.locator(".card").first).to_contain_text("out of memory")
    empty = ("What happened to the images", "Published values")
    assert not set(empty) & set(page.locator("section.card h2").all_inner_texts()), "nothing to show"
    versions = page.locator("section.card", has_text="Versions and machine").inner_text()
    assert "2.15.0" in versions
    assert "{" not in page.locator("main").inner_text(), "no JSON"
    assert "3, 32, 32" in page.locator("section.card", has_text="Settings in full").inner_text()


def test_the_method_page_describes_what_is_registered(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/methods.html#defense-dvae")
    sync_api.expect(page.locator("#defense-dvae")).to_contain_text("Purify.")
    sync_api.expect(page.get_by_role("link", name="arXiv:2405.01460")).to_be_visible()
