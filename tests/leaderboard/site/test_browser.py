"""The published site in a real browser, from a folder, without a network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult
from bench.store.scores import SCORES
from leaderboard.site.methods import Method
from tests.leaderboard.publishing import publish
from tests.leaderboard.sample_store import write_samples

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[[str], "Page"]
ROWS = ("clean", "poisoned", "perturbation", "purified", "residual")
METHODS = [Method("defense", "dvae", "arXiv:2405.01460", description="Purify.", parameters={"epochs": "60"})]


@pytest.fixture(scope="module")
def cells(matrix: list[CellResult], make_cell: MakeCell) -> list[CellResult]:
    """The matrix on two victims, with curves and samples."""
    curve = [
        {"epoch": e, "train_loss": 1.0, "train_accuracy": 0.9, "clean_test_accuracy": 0.1 * e} for e in range(1, 4)
    ]
    second = [replace(cell, key=f"{cell.key}-b", victim=replace(cell.victim, text="vgg")) for cell in matrix]
    names = {"poison": "{0.attack.text}", "purify": "{0.attack.text}-{0.defense.text}", "train": "{0.key}"}
    return [
        replace(cell, curve=curve, artifacts={stage: name.format(cell) for stage, name in names.items()})
        for cell in [*matrix, *second]
    ]


@pytest.fixture(scope="module")
def site(cells: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("published")
    for cell in cells:
        write_samples(root / "store", cell)
    return publish(cells, root / "site", [root / "store"], METHODS)["index.html"].parent.as_uri()


@pytest.fixture
def page(open_page: OpenPage, site: str) -> "Page":
    return open_page(f"{site}/index.html")


def defenses(page: "Page") -> list[str]:
    return page.locator(".board tbody tr:visible .pick").all_inner_texts()


def state(page: "Page") -> dict[str, str]:
    found: dict[str, str] = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return found


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
    sync_api.expect(page.locator(".count")).to_have_text("1 of 10 rows")
    assert defenses(page) == ["iss-jpeg"]
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


def test_the_baseline_envelope_is_drawn_and_named(page: "Page") -> None:
    legend = page.locator(".plot").first.locator(".legendtext", has_text="baseline envelope")
    sync_api.expect(legend).to_have_text("baseline envelope, chosen with test labels: iss-jpeg")
    note = page.locator("section.group:visible .caption", has_text="Baseline envelope").first
    sync_api.expect(note).to_contain_text(
        "iss-jpeg with 82.0 % mean accuracy, the best of the 2 that are present of six"
    )
    sync_api.expect(page.locator("#how")).to_contain_text("gray and JPEG at 10, 30, 50, 70 and 90")


def test_columns_of_targets_and_peaks_can_be_chosen(open_page: OpenPage, site: str) -> None:
    names = ("peak_accuracy", "held_out_worst", "attacks_at_80", "seconds_to_80", "seconds_per_point")
    address = "&".join(f"column={name}" for name in names)
    page = open_page(f"{site}/index.html#victim=resnet18&{address}")
    heads = page.locator(".board thead th.number:visible").all_inner_texts()
    assert heads == ["peak (oracle) %", "held out, worst %", "cost per point", "attacks at 80 %", "time to 80 %"]
    row = page.locator(".board tbody tr", has=page.locator(".pick", has_text="iss-jpeg")).first
    assert row.locator("td.number:visible").all_inner_texts() == ["82.0", "–", "70.2 ms", "2\nof 2", "104 s"]


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
    second.select_option("cifar10|paper|vgg|bfloat16|iss (best per attack)")
    sync_api.expect(lines.nth(5)).to_contain_text("+6.0 ± 3.5")
    sync_api.expect(page.locator("#compare .outcome")).to_contain_text("chosen with test labels")
    page.get_by_role("button", name="Reset").click()
    assert state(page)["second"].endswith("iss (best per attack)"), "the filters leave the comparison as it is"


def test_what_cannot_be_told_apart_is_no_lead(open_page: OpenPage, make_demo_cell: MakeCell, tmp_path: Path) -> None:
    """One seed, 10,000 images: 0.588 points at 90 % and 0.582 at 90.2 % give 0.83; at 92 % 0.532 gives 0.79."""
    values = {"a": (0.9, 0.9), "b": (0.902, 0.92)}
    cells = [
        make_demo_cell(attack, name, accuracy)
        for name, of in values.items()
        for attack, accuracy in zip(("lsp", "ops", "adaptive:base=em"), (*of, 0.5), strict=True)
    ]
    site = publish(cells, tmp_path / "site")["index.html"].as_uri()
    place = "cifar10|demo|resnet18|bfloat16"
    page = open_page(f"{site}#first={place}|a&second={place}|b")
    lines = page.locator("#compare tbody tr").all()
    texts = [line.locator("> *").all_inner_texts() for line in lines]
    assert texts[-3:] == [
        ["lsp", "90.0", "90.2", "−0.2 ± 0.8", "not told apart"],
        ["ops", "90.0", "92.0", "−2.0 ± 0.8", "b is higher"],
        ["adaptive:base=em", "50.0", "50.0", "0.0 ± 1.4", "not told apart"],
    ]
    counts = "a is higher against 0, b is higher against 1, not told apart against 1."
    summary = f"Of 2 attacks (adaptive ones are not counted): {counts}"
    sync_api.expect(page.locator("#compare .outcome p")).to_have_text(summary)
    page.evaluate("location.hash = 'first=unknown'")
    sync_api.expect(page.locator("#compare .outcome > *")).to_have_count(0)


def test_the_scatter_has_front_bars_and_switchable_axis(page: "Page") -> None:
    plot = page.locator(".plot").first
    sync_api.expect(plot.locator(".scatterlayer .points path.point")).to_have_count(4)
    sync_api.expect(plot.locator(".errorbar")).to_have_count(4)
    sync_api.expect(plot.locator(".legendtext", has_text="Pareto front")).to_be_visible()
    for label, title in (("seconds", "wall time"), ("joules", "energy"), ("trainings", "undefended trainings")):
        page.locator(".axis").first.get_by_text(label).click()
        sync_api.expect(plot.locator(".xtitle")).to_contain_text(title)
        assert state(page) == {"axis": label}
    page.keyboard.press("ArrowRight")
    sync_api.expect(plot.locator(".xtitle")).to_contain_text("wall time")


COVERED = """(plot) => {
  const box = (each) => each.getBoundingClientRect();
  const seen = (label) => label.style.visibility !== 'hidden';
  const labels = [...plot.querySelectorAll('.textpoint')].filter(seen).map(box);
  const all = [...plot.querySelectorAll('.scatterlayer .point')].map(box);
  const shared = (a, b, from, to) => Math.min(a[to], b[to]) - Math.max(a[from], b[from]);
  const met = (a, b) => shared(a, b, 'left', 'right') > 1 && shared(a, b, 'top', 'bottom') > 3;
  const covered = labels.filter((a) => [...all, ...labels.filter((b) => b !== a)].some((b) => met(a, b)));
  return [labels.length, covered.length];
}"""


def test_no_label_covers_a_point_at_any_width(
    open_page: Callable[..., "Page"], make_demo_cell: MakeCell, tmp_path: Path
) -> None:
    """Twenty defenses in a narrow band, undefended training far below; the heat map beside the chart is high."""
    values = {f"defense-{n:02}": (0.8 + 0.005 * (7 * n % 20), 0.2 * 1.15**n) for n in range(20)} | {"none": (0.1, 0.0)}
    cells = [make_demo_cell(a, d, v, purify=s) for d, (v, s) in values.items() for a in ("none", "lsp")]
    address = publish(cells, tmp_path / "site")["index.html"].as_uri()
    for width in (1440, 390):
        page = open_page(address, viewport={"width": width, "height": 900})
        page.locator(".plot").scroll_into_view_if_needed()
        page.locator(".plot .textpoint").first.wait_for(state="attached")
        shown, covered = page.locator(".plot").evaluate(COVERED)
        assert shown >= 2
        assert covered == 0
        plot, card = page.locator(".plot"), page.locator(".card", has=page.locator(".plot"))
        below = card.evaluate("(card) => card.getBoundingClientRect().bottom") - plot.evaluate(
            "(plot) => plot.getBoundingClientRect().bottom"
        )
        assert below < 300, "no blank below the chart"


def test_a_click_on_a_point_marks_its_row_and_back(page: "Page") -> None:
    plot = page.locator(".plot").first
    sync_api.expect(plot.locator("path.point")).to_have_count(4)
    plot.scroll_into_view_if_needed()
    box = plot.locator("path.point").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    sync_api.expect(plot.locator(".hoverlayer")).to_contain_text("dvae")
    page.mouse.down()
    page.mouse.up()
    sync_api.expect(page.locator("tr.chosen .pick")).to_have_text("dvae")
    assert state(page) == {"row": "cifar10|paper|resnet18|bfloat16|dvae"}
    page.locator("tr.chosen .pick").press("Enter")
    sync_api.expect(page.locator("tr.chosen")).to_have_count(0)
    assert state(page) == {}


CONTRASTS = """() => {
    const cell = document.querySelector(".heat tbody td[style]");
    const pixel = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const canvas = pixel.getContext("2d", { willReadFrequently: true });
    const luminance = (color) => {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return Array.from({ length: 1001 }, (_, i) => {
        cell.style.setProperty("--p", (i / 10).toFixed(1));
        const { color, backgroundColor } = getComputedStyle(cell);
        const [text, ground] = [luminance(color), luminance(backgroundColor)];
        return [(Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05), ground];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_of_the_heat_map_are_readable_on_an_ordered_scale(page: "Page", scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    contrasts, grounds = zip(*page.evaluate(CONTRASTS), strict=True)
    assert min(contrasts) >= 4.5
    assert max(grounds) - min(grounds) > 0.6
    ordered = sorted(grounds, reverse=scheme == "light")
    assert grounds == pytest.approx(ordered, abs=0.01)


def test_published_values_stand_beside_measured_ones(page: "Page") -> None:
    cell = page.locator(".heat").first.locator("tbody tr", has_text="iss-jpeg").locator("td").nth(1)
    sync_api.expect(cell).to_contain_text("83.0")
    sync_api.expect(cell.locator(".published")).to_contain_text("83.0 ✓")


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


HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd|'/C calc'!A0",
    "x" * 300,
    "مرحبا\u202eabc",
    "</script><img src=x>",
    "a|b&c=d#%",
]


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


def test_hostile_names_are_harmless(open_page: OpenPage, make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell(a, d, preset=HOSTILE[0], dataset=HOSTILE[3]) for a in ("none", *HOSTILE) for d in HOSTILE]
    cells = [
        replace(cell, key=f"{number:020x}", provenance={HOSTILE[4]: HOSTILE[0]}, logs={"poison": {HOSTILE[0]: "<b>"}})
        for number, cell in enumerate(cells)
    ]
    folder = publish(cells, tmp_path / "site", methods=[Method("defense", HOSTILE[0], description=HOSTILE[4])])
    page = open_page(folder["index.html"].as_uri())
    page.set_viewport_size({"width": 390, "height": 844})
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
        page.set_viewport_size({"width": 390, "height": 844})
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
    page = open_page(f"{site}/{name.format(key=cells[0].key)}")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_answer_on_a_phone_stands_before_the_facts_of_the_run(open_page: OpenPage, site: str) -> None:
    page = open_page(f"{site}/index.html")
    page.set_viewport_size({"width": 390, "height": 844})
    top = "(place) => place.getBoundingClientRect().top"
    answer, facts = (page.locator(f"{place}:visible").first.evaluate(top) for place in (".answers", ".run .facts"))
    assert answer < facts
    assert answer < 844 / 2


def test_the_differences_of_a_comparison_are_in_sight_on_a_phone(open_page: OpenPage, site: str) -> None:
    place = "cifar10|paper|vgg|bfloat16"
    page = open_page(f"{site}/index.html#first={place}|dvae&second={place}|iss (best per attack)")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator("#compare .outcome").evaluate("(box) => box.scrollWidth <= box.clientWidth")
    line = page.locator("#compare tbody tr").first
    sync_api.expect(line.locator(".told")).to_have_text("+7.0 ± 3.5")
    assert line.evaluate("(row) => row.offsetHeight") < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "methods.html", "cell.html#{key}"])
def test_axe_finds_no_serious_violation(
    open_page: OpenPage, site: str, cells: list[CellResult], scheme: str, name: str
) -> None:
    page = open_page(f"{site}/{name.format(key=cells[0].key)}")
    page.emulate_media(color_scheme=scheme)
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
