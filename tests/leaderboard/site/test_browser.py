"""The published board in a real browser, from a folder, without a network."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult
from tests.leaderboard.publishing import publish
from tests.leaderboard.site.boards import defenses, state

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[[str], "Page"]


def test_the_answer_comes_first(page: "Page") -> None:
    answer = page.locator(".answer:visible")
    sync_api.expect(answer).to_have_count(1)
    for text in ("dvae", "90.0 %", "mean accuracy, worst", "6.67 min", "± 2.5 points", "25.0 %"):
        sync_api.expect(answer).to_contain_text(text)


def test_the_board_is_sorted_by_a_click_and_the_address_says_so(page: "Page") -> None:
    page.locator("select[name=victim]").select_option("resnet18")
    assert defenses(page) == ["dvae", "iss-jpeg", "iss-gray", "iss (best per attack)", "none"]
    page.get_by_role("button", name="cost", exact=True).click()
    sync_api.expect(page.locator(".board tr:visible .pick").first).to_have_text("none")
    assert defenses(page) == ["none", "iss-gray", "iss-jpeg", "iss (best per attack)", "dvae"], "cheapest first"
    assert state(page) == {"victim": "resnet18", "sort": "cost~ascending"}
    page.get_by_role("button", name="worst %", exact=True).click()
    sync_api.expect(page.locator(".board tr:visible .pick").first).to_have_text("dvae")
    assert state(page) == {"victim": "resnet18", "sort": "worst %~descending"}


def test_a_word_of_its_description_finds_a_defense(page: "Page") -> None:
    page.locator("select[name=victim]").select_option("resnet18")
    page.locator("input[name=q]").fill("Purify.")
    sync_api.expect(page.locator(".board tr:visible .pick")).to_have_text(["dvae"])


def test_reset_takes_the_sorting_back(page: "Page") -> None:
    before = defenses(page)
    page.get_by_role("button", name="cost", exact=True).click()
    sync_api.expect(page.locator(".board .pick").first).to_contain_text("none")
    page.get_by_role("button", name="Reset").click()
    sync_api.expect(page.locator("th[aria-sort]")).to_have_count(0)
    assert defenses(page) == before
    assert state(page) == {}


def test_the_board_is_sorted_from_the_keyboard(page: "Page") -> None:
    page.get_by_role("button", name="cost", exact=True).focus()
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("th[aria-sort=ascending]")).to_have_text("cost")
    sync_api.expect(page.locator(".board .pick").first).to_contain_text("none")
    page.keyboard.press("Space")
    sync_api.expect(page.locator("th[aria-sort=descending]")).to_have_text("cost")
    sync_api.expect(page.locator(".board .pick").first).to_contain_text("dvae")


def test_rows_without_a_rank_sort_last(page: "Page") -> None:
    for direction in ("ascending", "descending"):
        page.get_by_role("button", name="#").click()
        sync_api.expect(page.locator(f"th[aria-sort={direction}]")).to_have_count(1)
        page.wait_for_function("document.querySelector('.board tbody tr:last-child td').dataset.sort === ''")


def test_filters_narrow_rows_columns_and_charts(page: "Page") -> None:
    page.locator("select[name=victim]").select_option("vgg")
    sync_api.expect(page.locator("section.group:visible")).to_have_count(1)
    sync_api.expect(page.locator(".answer:visible")).to_contain_text("victim vgg")
    page.locator("select[name=attack]").select_option("ops")
    sync_api.expect(page.locator(".heat thead th:visible")).to_have_text(["clean data", "ops"])
    page.locator("input[name=q]").fill("JPEG")
    sync_api.expect(page.locator(".count")).to_have_text("2 of 10 rows")
    assert defenses(page) == ["iss-jpeg", "iss (best per attack)"], "it names its members"
    assert state(page) == {"victim": "vgg", "attack": "ops", "q": "JPEG"}
    page.get_by_role("button", name="Reset").click()
    sync_api.expect(page.locator(".count")).to_have_text("10 of 10 rows")
    assert state(page) == {}


def test_a_shared_address_restores_the_view(open_page: OpenPage, site: str) -> None:
    row = "cifar10%7Cpaper%7Cvgg%7Cbfloat16%7Cdvae"
    hash_ = f"victim=vgg&attack=lsp&axis=joules&sort=cost~ascending&row={row}&defense=bogus"
    page = open_page(f"{site}/index.html#{hash_}")
    sync_api.expect(page.locator("th[aria-sort=ascending]")).to_have_text("cost")
    sync_api.expect(page.locator("select[name=victim]")).to_have_value("vgg")
    sync_api.expect(page.locator(".board tr.chosen .pick")).to_have_text("dvae")
    sync_api.expect(page.locator(".plot:visible .xtitle")).to_have_text("extra energy of the GPU")
    assert len(defenses(page)) == 5, "a defense that this board lacks filters nothing"


def test_columns_of_targets_and_peaks_can_be_chosen(open_page: OpenPage, site: str) -> None:
    names = ("peak_accuracy", "held_out_worst", "attacks_at_80", "seconds_to_80", "seconds_per_point")
    address = "&".join(f"column={name}" for name in names)
    page = open_page(f"{site}/index.html#victim=resnet18&{address}")
    heads = page.locator(".board thead th.number:visible").all_inner_texts()
    assert heads == ["peak (oracle) %", "held out, worst %", "cost per point", "attacks at 80 %", "time to 80 %"]
    row = page.locator(".board tbody tr", has=page.locator(".pick", has_text="iss-jpeg")).first
    assert row.locator("td.number:visible").all_inner_texts() == ["82.0", "–", "70.2 ms", "2\nof 2", "104 s"]


def test_published_values_take_two_lines_and_follow_the_filters(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html#victim=resnet18")
    details = page.locator(".compared:visible")
    values, summary = details.locator("tbody"), details.locator("> summary")
    details.evaluate("all => (all.open = true)")
    total = values.count()
    sync_api.expect(summary).to_have_text(f"{total} published values")
    heights = values.evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert max(heights) < 70, "the reason takes one line until it is opened"
    reason = max(values.all(), key=lambda value: len(value.inner_text())).locator("summary")
    before = reason.bounding_box()
    reason.click()
    after = reason.bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > before["height"], "whole"
    page.locator("select[name=defense]").select_option("iss-jpeg")
    page.locator("select[name=attack]").select_option("lsp")
    shown = details.locator("tbody:visible")
    assert 0 < shown.count() < total
    sync_api.expect(summary).to_have_text(f"{shown.count()} of {total} published values")
    for value in shown.all():
        assert value.locator("tr").first.inner_text().startswith("iss-jpeg\tlsp\t")


def test_two_defenses_are_compared_attack_by_attack(page: "Page") -> None:
    """Half-widths of 2.48 points each give one of 3.51; dvae leads by 8 points on both attacks, and on clean data."""
    first, second = page.locator("#compare select").all()
    sync_api.expect(second).to_be_disabled()
    first.select_option("cifar10|paper|vgg|bfloat16|dvae")
    assert all("vgg" in str(o.get_attribute("value")) for o in second.locator("option").all()[1:]), "one group"
    second.select_option("cifar10|paper|vgg|bfloat16|iss-jpeg")
    lines = page.locator("#compare tbody tr")
    assert [line.locator("> *").all_inner_texts() for line in lines.all()] == [
        ["mean over attacks", "90.0", "82.0", "+8.0 ± 3.5", "dvae is higher"],
        ["worst attack", "89.0", "81.0", "+8.0", "no interval"],
        ["clean data", "93.0", "85.0", "+8.0 ± 3.5", "dvae is higher"],
        ["cost", "6.67 min", "4 s", "100×", "iss-jpeg is cheaper"],
        ["× training", "5.00×", "1.040×", "+3.96×", "iss-jpeg is cheaper"],
        ["lsp", "91.0", "83.0", "+8.0 ± 3.5", "dvae is higher"],
        ["ops", "89.0", "81.0", "+8.0 ± 3.5", "dvae is higher"],
    ]
    assert lines.nth(0).locator(".told").all_inner_texts() == ["+8.0 ± 3.5"]
    counts = "dvae is higher against 2, iss-jpeg is higher against 0, not told apart against 0."
    sync_api.expect(page.locator("#compare .outcome p")).to_have_text(f"Of 2 attacks: {counts}")
    second.select_option("cifar10|paper|vgg|bfloat16|iss (best per attack)")
    sync_api.expect(lines.nth(5)).to_contain_text("+6.0 ± 3.5")
    sync_api.expect(page.locator("#compare .outcome")).to_contain_text("chosen with test labels")
    page.get_by_role("button", name="Reset").click()
    assert state(page)["second"].endswith("iss (best per attack)"), "the filters leave the comparison as it is"


def test_what_cannot_be_told_apart_is_no_lead(open_page: OpenPage, make_ranked_cell: MakeCell, tmp_path: Path) -> None:
    """One seed, 10,000 images: 0.588 points at 90 % and 0.582 at 90.2 % give 0.83; at 92 % 0.532 gives 0.79."""
    values = {"a": (0.9, 0.9), "b": (0.902, 0.92)}
    cells = [
        make_ranked_cell(attack, name, accuracy)
        for name, of in values.items()
        for attack, accuracy in zip(("lsp", "ops", "adaptive:base=em"), (*of, 0.5), strict=True)
    ]
    cells += [make_ranked_cell("em", name, 0.9) for name in ("a", "b", "none")]
    cells.append(make_ranked_cell("none", "none", 0.9))
    site = publish(cells, tmp_path / "site")["index.html"].as_uri()
    place = "cifar10|demo|resnet18|bfloat16"
    page = open_page(f"{site}#first={place}|a&second={place}|b")
    lines = page.locator("#compare tbody tr").all()
    texts = [line.locator("> *").all_inner_texts() for line in lines]
    assert texts[-3:] == [
        ["lsp", "90.0", "90.2", "−0.2 ± 0.8", "not told apart"],
        ["ops", "90.0", "92.0", "−2.0", "outside the interval of the test images; one training each"],
        ["adaptive:base=em", "50.0", "50.0", "0.0 ± 1.4", "not told apart"],
    ]
    assert page.locator("#compare .told").count() == 0, "nothing is bold"
    once = "outside the interval of the test images against 1, not told apart against 1. One training each: another one"
    summary = f"(adaptive ones and poisons that did not take are not counted): {once} gives another difference."
    sync_api.expect(page.locator("#compare .outcome p")).to_have_text(f"Of 2 attacks {summary}")
    page.evaluate("location.hash = 'first=unknown'")
    sync_api.expect(page.locator("#compare .outcome > *")).to_have_count(0)


def test_a_long_board_shows_its_beginning_until_asked(open_page: OpenPage, make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell(a, f"d{i:02}", 0.4 + i / 100) for a in ("none", "lsp") for i in range(50)]
    page = open_page(publish(cells, tmp_path / "site")["index.html"].as_uri())
    sync_api.expect(page.locator(".count")).to_have_text("50 of 50 rows")
    assert len(defenses(page)) == 25
    page.get_by_role("button", name="defense").click()
    page.get_by_role("button", name="defense").click()
    sync_api.expect(page.locator("th[aria-sort=ascending]")).to_have_text("defense")
    page.wait_for_function("document.querySelector('.board tbody .pick').textContent.trim() === 'd00'")
    assert defenses(page) == [f"d{i:02}" for i in range(25)], "the first of the new order"
    page.emulate_media(media="print")
    assert len(defenses(page)) == 50, "paper has no button"
    page.emulate_media(media="screen")
    assert len(defenses(page)) == 25
    page.get_by_role("button", name="Show all 50 rows").click()
    assert len(defenses(page)) == 50
    assert state(page) == {"sort": "defense~ascending", "all": "1"}


def test_the_beginning_ends_with_a_victim(open_page: OpenPage, make_cell: MakeCell, tmp_path: Path) -> None:
    names = [("none", 0.1), *((f"d{i:02}", 0.9 - i / 100) for i in range(11))]
    cells = [make_cell("lsp", name, value, victim=v) for v in ("a", "b", "c") for name, value in names]
    page = open_page(publish(cells, tmp_path / "site")["index.html"].as_uri())
    assert len(defenses(page)) == 24, "two victims of twelve rows, not one row of the third"
    starts = page.locator(".board .first .pick")
    assert starts.all_inner_texts() == ["d00", "d00"], "each further victim has a rule above it"
    page.get_by_role("button", name="mean %", exact=True).click()
    assert len(defenses(page)) == 25
    sync_api.expect(starts).to_have_count(0)
