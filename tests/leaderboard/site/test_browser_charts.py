"""The charts of the board in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult
from tests.leaderboard.publishing import publish
from tests.leaderboard.site.boards import state

if TYPE_CHECKING:
    from playwright.sync_api import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for the browser tests")
pytestmark = pytest.mark.browser
MakeCell = Callable[..., CellResult]
OpenPage = Callable[[str], "Page"]


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
    open_page: Callable[..., "Page"], make_ranked_cell: MakeCell, tmp_path: Path
) -> None:
    """Twenty defenses in a narrow band, undefended training far below; the heat map beside the chart is high."""
    values = {f"defense-{n:02}": (0.8 + 0.005 * (7 * n % 20), 0.2 * 1.15**n) for n in range(20)} | {"none": (0.1, 0.0)}
    cells = [make_ranked_cell(a, d, v, purify=s) for d, (v, s) in values.items() for a in ("none", "lsp")]
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
    row = page.locator(".board tbody tr", has_text="iss-jpeg").first
    clean, against_lsp = (row.locator(".published").nth(number) for number in (0, 1))
    sync_api.expect(clean).to_have_text("published 85.4 ✓")
    sync_api.expect(against_lsp).to_have_text("published 83.0 ✓")


def test_the_baseline_envelope_is_drawn_and_named(page: "Page") -> None:
    legend = page.locator(".plot").first.locator(".legendtext", has_text="baseline envelope")
    sync_api.expect(legend).to_be_visible()
    note = page.locator("section.group:visible .caption", has_text="Baseline envelope").first
    sync_api.expect(note).to_contain_text(
        "iss-jpeg with 82.0 % mean accuracy, the best of the 2 that are present of six"
    )
    sync_api.expect(page.locator("#how")).to_contain_text("gray and JPEG at 10, 30, 50, 70 and 90")


def test_the_legend_is_whole_on_a_phone(open_page: Callable[..., "Page"], site: str) -> None:
    page = open_page(f"{site}/index.html", viewport={"width": 390, "height": 844})
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".legendtext").first.wait_for()
    right = "(element) => element.getBoundingClientRect().right"
    edges = [text.evaluate(right) for text in plot.locator(".legendtext").all()]
    assert len(edges) == 5
    assert max(edges) <= plot.evaluate(right)
