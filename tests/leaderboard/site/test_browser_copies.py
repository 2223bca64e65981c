"""What a reader takes along from the page: the view as text, the charts as files. Offline, from the keyboard."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

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
CAUGHT = (
    "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => (window.taken = text) } });"
)
REFUSED = "Object.defineProperty(navigator, 'clipboard', { value: { writeText: () => Promise.reject() } });"
ODD = "a_b|c&d:x=1"
CELL = "cell.html#cifar10-paper-lsp-dvae-resnet18-0-done"


@pytest.fixture(scope="module")
def folder(matrix: list[CellResult], make_cell: MakeCell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix, and a second victim with a defense whose name needs quoting in every format."""
    odd = [make_cell(a, d, 0.5, victim="vgg") for a in ("none", "lsp", "ops") for d in ("none", ODD, "=1+1")]
    curve = [{"epoch": e, "train_accuracy": 0.9, "clean_test_accuracy": 0.3 * e} for e in (1, 2, 3)]
    bands = {f"poison_band_{n}": share for n, share in enumerate((0.5, 0.2, 0.1, 0.1, 0.1), start=1)}
    cells = [replace(cell, curve=curve, scores={**cell.scores, **bands}) for cell in [*matrix, *odd]]
    return publish(cells, tmp_path_factory.mktemp("copies") / "site")["index.html"].parent


@pytest.fixture
def take(open_page: OpenPage, folder: Path) -> Callable[[str, str], str]:
    """Copies the view of an address in a format, from the keyboard."""

    def taken(address: str, format_: str) -> str:
        page = open_page(f"{folder.as_uri()}/index.html#{address}", CAUGHT)
        page.get_by_role("button", name=format_, exact=True).press("Enter")
        sync_api.expect(page.locator(".copied")).to_contain_text(f"Copied as {format_}: ")
        text: str = page.evaluate("window.taken")
        return text

    return taken


def test_csv_has_the_names_and_values_of_the_file(take: Callable[[str, str], str], folder: Path) -> None:
    for address, defenses, more in (
        (
            "victim=resnet18&column=attacks&column=cost_seconds&sort=cost~ascending",
            5,
            {"half_width_95[lsp]", "cost_seconds_min", "cost_seconds_max"},
        ),
        ("column=mean_accuracy&column=flags", 8, {"half_width_95"}),
    ):
        copied = list(csv.DictReader(StringIO(take(address, "CSV"))))
        with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
            of_file = {(row["victim_selection"], row["defense_selection"]): row for row in csv.DictReader(file)}
        assert len(copied) == defenses
        assert {"n", "seeds", "device", "flags"} <= copied[0].keys()
        assert more <= copied[0].keys()
        for row in copied:
            expected = of_file[row["victim_selection"], row["defense_selection"]]
            assert row == {name: expected[name] for name in row}
        assert ("cost_seconds" in copied[0]) == ("cost_seconds_min" in copied[0]) == ("cost_seconds" in address)


def test_markdown_shows_what_the_page_shows(take: Callable[[str, str], str]) -> None:
    assert take("victim=resnet18&column=mean_accuracy&column=cost_seconds&q=iss-", "Markdown").splitlines() == [
        "purify-bench leaderboard, data set cifar10, preset paper, victim resnet18, precision bfloat16",
        "",
        "| rank | defense | mean % | cost |",
        "| --- | --- | ---: | ---: |",
        "| 2 | iss-jpeg | 82.0 ± 2.5 | 4 s |",
        "| 3 | iss-gray | 65.0 ± 2.5 | **200 ms** |",
        "| – | iss (best per attack) | 83.0 ± 2.5 | 4.2 s |",
        "",
        "All rows: n = 6 cells, 3 seeds, 10000 test images, device Test GPU.  ",
        "iss (best per attack): oracle: iss-gray and iss-jpeg.",
    ]
    odd = take("victim=vgg&column=mean_accuracy", "Markdown")
    assert r"| a\_b\|c&d:x=1 |" in odd
    assert odd.splitlines()[-2:] == [
        "All rows: n = 2 cells, 1 seed, 10000 test images, device Test GPU.  ",
        "All rows: provisional, poison did not take: all attacks.",
    ]


def test_latex_shows_what_the_page_shows(take: Callable[[str, str], str]) -> None:
    assert take("victim=resnet18&attack=lsp&column=mean_accuracy&q=dvae", "LaTeX").splitlines() == [
        r"% purify-bench leaderboard, data set cifar10, preset paper, victim resnet18, precision bfloat16. "
        r"Needs \usepackage{booktabs}.",
        r"\begin{tabular}{rlrr}",
        r"\toprule",
        r"rank & defense & mean \% & lsp \\",
        r"\midrule",
        r"1 & dvae & \textbf{90.0 $\pm$ 2.5} & \textbf{91.0 $\pm$ 2.5} \\",
        r"\bottomrule",
        r"\addlinespace",
        r"\multicolumn{4}{l}{All rows: n = 6 cells, 3 seeds, 10000 test} \\",
        r"\multicolumn{4}{l}{images, device Test GPU.} \\",
        r"\end{tabular}",
    ]
    odd = take("victim=vgg&column=mean_accuracy", "LaTeX")
    assert r" & a\_b\textbar{}c\&d:x=1 & " in odd
    assert r"\multicolumn{3}{l}{All rows: provisional, poison did not" in odd, "printed, no comment"


def test_several_victims_are_told_apart_in_a_copy_from_a_phone(open_page: OpenPage, folder: Path) -> None:
    page = open_page(f"{folder.as_uri()}/index.html", CAUGHT, viewport={"width": 390, "height": 844})
    page.get_by_role("button", name="Markdown", exact=True).click()
    page.wait_for_function("window.taken")
    heads, _, first = page.evaluate("window.taken").splitlines()[2:5]
    assert heads.startswith("| rank | defense | victim | mean % |")
    assert first.startswith("| 1 | dvae | resnet18 | **90.0 ± 2.5** |")


def test_without_a_clipboard_the_text_is_marked(open_page: OpenPage, folder: Path) -> None:
    page = open_page(f"{folder.as_uri()}/index.html", REFUSED)
    page.get_by_role("button", name="CSV", exact=True).click()
    sync_api.expect(page.locator(".copied")).to_contain_text("the text is marked below")
    sync_api.expect(page.get_by_label("The copied table as text")).to_be_focused()
    assert page.evaluate("getSelection().toString()").startswith("dataset_selection,preset,")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", CELL])
def test_a_chart_is_saved_as_svg_and_png(
    open_page: OpenPage, folder: Path, tmp_path: Path, name: str, scheme: str
) -> None:
    page = open_page(f"{folder.as_uri()}/{name}", viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page.locator(".plot .main-svg").first.wait_for(state="attached")
    for format_ in ("svg", "png"):
        with page.expect_download() as download:
            page.get_by_role("button", name=format_.upper(), exact=True).first.press("Enter")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.suffix == f".{format_}"
        if format_ == "svg":
            text = path.read_text(encoding="utf-8")
            assert ("dvae" if name == "index.html" else "clean test images") in text
            assert "rgb(90, 103, 120)" in text, "dark letters"
        else:
            picture = Image.open(path)
            assert picture.size == (2400, 1440)
            assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_the_spectrum_says_that_it_is_of_the_poison(open_page: OpenPage, folder: Path) -> None:
    page = open_page(f"{folder.as_uri()}/{CELL}")
    card = page.locator("section.card", has=page.get_by_role("heading", name="Spectrum of the perturbation"))
    sync_api.expect(card).to_contain_text("of the poison’s perturbation, before the defense.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "file", "texts", "size"),
    [
        ("index.html", "accuracy-by-attack-1", {"clean data", "lsp", "ops", "dvae", "91.0", "± 2.5", "15.0"}, None),
        (CELL, f"spectrum-cycles-per-pixel-{CELL.partition('#')[2]}", {"50 %", "0–0.0625"}, (1296, 420)),
    ],
)
def test_a_figure_without_plotly_is_saved_in_the_colors_of_paper(
    open_page: OpenPage,
    folder: Path,
    tmp_path: Path,
    name: str,
    file: str,
    texts: set[str],
    size: tuple[int, int] | None,
    scheme: str,
) -> None:
    page = open_page(f"{folder.as_uri()}/{name}", viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    saved = {}
    for format_ in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.locator(".picture").first.get_by_role("button", name=format_).press("Enter")
        assert download.value.suggested_filename == f"{file}.{format_.lower()}"
        saved[format_] = tmp_path / format_
        download.value.save_as(saved[format_])
    svg = ElementTree.parse(saved["SVG"]).getroot()
    found = {"".join(text.itertext()) for text in svg.iter(f"{{{svg.tag[1:].partition('}')[0]}}}text")}
    assert texts <= found
    assert not re.search("oklab|var\\(|color-mix", saved["SVG"].read_text(encoding="utf-8"))
    picture = Image.open(saved["PNG"]).convert("RGB")
    assert picture.size == (size or tuple(3 * int(svg.attrib[side]) for side in ("width", "height")))
    assert picture.getpixel((2, 2)) == (255, 255, 255)
    assert len(picture.getcolors(1 << 20) or ()) > 20, "bars or cells, and letters"
