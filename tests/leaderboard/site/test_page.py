import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser

from bench.store.results import CellResult
from leaderboard.published.papers import papers_of
from leaderboard.site.methods import Method
from leaderboard.site.page import EXPORTS, page_assets, render_pages
from leaderboard.site.views import tables_of
from leaderboard.tables.flags import Flag
from leaderboard.tables.table import frames_of
from leaderboard.tables.uses import USES, explained

MakeCell = Callable[..., CellResult]
HOSTILE = "<script>alert(1)</script>"


def pages_of(cells: list[CellResult], methods: Sequence[Method] = ()) -> dict[str, str]:
    return render_pages(cells, tables_of(frames_of(cells)), methods)


def page_of(cells: list[CellResult]) -> str:
    return pages_of(cells)["index.html"]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_hostile_names_are_escaped_everywhere(make_cell: MakeCell) -> None:
    names = {"preset": HOSTILE, "dataset": HOSTILE, "victim": HOSTILE, "device": HOSTILE}
    cells = [make_cell(a, d, **names) for a in ("none", HOSTILE) for d in ("none", HOSTILE)]
    failed = make_cell(HOSTILE, HOSTILE, status="failed", seed=1, **{**names, "device": "x"})
    error = {"stage": HOSTILE, "kind": HOSTILE, "message": HOSTILE}
    cells = [replace(cell, defense=replace(cell.defense, uses=[HOSTILE])) for cell in cells]
    cells.append(replace(failed, error=error, provenance={HOSTILE: HOSTILE}))
    method = Method("defense", HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE, {HOSTILE: HOSTILE})
    plain = pages_of([make_cell()])
    for name, page in pages_of(cells, [method]).items():
        assert "<script>alert" not in page
        assert page.count("</script>") == plain[name].count("</script>")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page_of(cells)


def test_hostile_names_stay_text_in_the_figure(make_cell: MakeCell) -> None:
    page = page_of([make_cell(a, d) for a in ("none", "lsp") for d in ("none", HOSTILE)])
    (figures,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)
    texts = {
        text for drawn in json.loads(figures).values() for trace in drawn["data"] for text in trace.get("text", [])
    }
    assert texts == {"&lt;script&gt;alert(1)&lt;/script&gt;"}


def test_nothing_is_loaded_from_elsewhere(matrix: list[CellResult]) -> None:
    keys = {cell.key for cell in matrix}
    for name, page in pages_of(matrix).items():
        links = Links()
        links.feed(page)
        local = {link for link in links.found if not link.startswith(("data:", "#", "cell.html#"))}
        assert local <= {*page_assets(), *EXPORTS, "index.html", "methods.html"}, name
        assert {link.partition("#")[2] for link in links.found if link.startswith("cell.html#")} <= keys


def test_a_row_names_its_paper_and_leads_to_its_card(make_cell: MakeCell) -> None:
    cells = [make_cell(a, d) for a in ("none", "lsp") for d in ("none", "dvae")]
    named = [replace(cell, defense=replace(cell.defense, source="arXiv:2405.01460")) for cell in cells[1::2]]
    pages = pages_of([*cells[::2], *named], [Method("defense", "dvae", "arXiv:2405.01460", description="Purify.")])
    link = f'<a href="methods.html#defense-dvae" title="{papers_of("arXiv:2405.01460")}">arXiv:2405.01460</a>'
    assert pages["index.html"].count(link) == 1
    assert 'id="defense-dvae"' in pages["methods.html"]


def test_failed_and_absent_cells_are_listed(matrix: list[CellResult], make_cell: MakeCell) -> None:
    kept = [c for c in matrix if not (c.attack.name == "lsp" and c.seed and c.defense.name == "dvae")]
    page = page_of([*kept, make_cell("lsp", "dvae", status="failed", seed=1)])
    assert "out of memory" in page
    assert "dvae on resnet18, cifar10, paper, bfloat16: 1 of 9 cells" in page
    assert "2 missing" in page
    assert "<dt>cells</dt><dd>34 finished, 1 failed, 1 not run</dd>" in page


def test_cells_with_the_same_error_stand_together(make_cell: MakeCell) -> None:
    failed = [make_cell(a, status="failed", seed=seed) for a in ("none", "lsp") for seed in range(5)]
    other = make_cell("ops", status="failed")
    error = {"stage": "train", "kind": "RuntimeError", "message": "no convergence"}
    page = page_of([*failed, replace(other, error=error)])
    assert page.count("out of memory") == page.count("no convergence") == 1
    assert re.findall(r"<summary>(\d+ cells?)</summary>", page) == ["10 cells", "1 cell"]
    assert len(re.findall(r'<li><a href="cell.html#', page)) == 11


def test_a_superseded_failure_is_not_listed(matrix: list[CellResult], make_cell: MakeCell) -> None:
    assert "out of memory" not in page_of([*matrix, make_cell("lsp", "dvae", status="failed", seed=1)])


def test_best_of_a_column_is_marked_among_ranked_rows_only(matrix: list[CellResult]) -> None:
    best = re.findall(r'<td class="number best m\d+"[^>]*>([^<]*)', page_of(matrix))
    assert best == ["90.0", "89.0", "93.0", "0.93", "93.0", "200 ms", "1.002×"]
    attacks = re.findall(r'<td class="number best at [^>]*><a[^>]*>([^<]*)', page_of(matrix))
    assert attacks == ["91.0", "89.0"]


def test_an_oracle_leads_to_the_cells_it_was_chosen_from(matrix: list[CellResult]) -> None:
    row = page_of(matrix).split('<tr class="oracle"')[1].split("</tr>")[0]
    assert re.findall(r'href="cell.html#([^"]*)"', row) == [
        "cifar10-paper-lsp-iss-gray-resnet18-0-done",
        "cifar10-paper-ops-iss-jpeg-resnet18-0-done",
    ]


def test_code_in_descriptions_is_set_as_code(make_cell: MakeCell) -> None:
    method = Method("attack", "lsp", description="Use `<b>` or one `.", parameters={"eps": ""})
    balanced = replace(method, description="Use `<b>` here.")
    assert "<p>Use `&lt;b&gt;` or one `.</p>" in pages_of([make_cell()], [method])["methods.html"].replace("\n", "")
    assert "<p>Use <code>&lt;b&gt;</code> here.</p>" in pages_of([make_cell()], [balanced])["methods.html"].replace(
        "\n", ""
    )


def test_the_cost_of_another_device_stands_with_it_and_is_not_best(
    matrix: list[CellResult], make_cell: MakeCell
) -> None:
    other = [
        make_cell(c.attack.text, "at", 0.8, seed=c.seed, purify=0.001, device="Other <GPU>")
        for c in matrix
        if c.defense.text == "none"
    ]
    page = page_of([*matrix, *other])
    assert '<small class="cut">Other &lt;GPU&gt;</small>' in page
    assert '<small class="cut">Test GPU</small>' not in page
    best = re.findall(r'<td class="number best m\d+"[^>]*>([^<]*)', page)
    assert best == ["90.0", "89.0", "93.0", "0.93", "93.0", "200 ms", "1.002×"], "the other device needs 1 ms"
    assert "costs of another device than the undefended training’s are not compared" in page


def test_ties_share_the_mark_and_the_place(make_ranked_cell: MakeCell) -> None:
    values = {"a": (0.90, 0.92), "b": (0.89, 0.91), "c": (0.50, 0.51)}
    cells = [make_ranked_cell(t, n, v[s], seed=s) for n, v in values.items() for t in ("none", "lsp") for s in range(2)]
    page = page_of(cells)
    assert re.findall(r'<td class="rank"[^>]*>([^<]*)', page) == ["=1", "=1", "3"]
    best = re.findall(r'<td class="number best m0" style="--v:[^>]*>([^<]*)', page)
    assert best == ["91.0", "90.0"]
    assert '<dt>Best defenses</dt><dd class="cut" title="a and b: not told apart">' in page


def test_a_long_name_breaks_behind_its_marks(make_cell: MakeCell) -> None:
    page = page_of([make_cell(d, "iss-jpeg:quality=10") for d in ("none", "from_file:path=a,b.npz")])
    assert "<bdi>from_<wbr>file:<wbr>path=<wbr>a,<wbr>b.npz</bdi>" in page
    assert "<bdi>iss-jpeg:<wbr>quality=<wbr>10</bdi>" in page


def test_the_answer_of_an_incomplete_matrix_says_so(make_cell: MakeCell) -> None:
    page = page_of([make_cell(), make_cell("lsp", "dvae", status="failed")])
    assert "no defense has all its cells yet" in page


def test_every_data_set_and_preset_is_a_group(make_cell: MakeCell) -> None:
    page = page_of([make_cell(dataset=d, preset=p) for d in ("cifar10", "svhn") for p in ("fast", "paper")])
    headings = [
        re.sub(r"<[^>]*>|\n", "", found) for found in re.findall(r'<h2 id="group-\d">.*?</h2>', page, re.DOTALL)
    ]
    assert headings == [
        f"{d} preset {p} victim resnet18 bfloat16" for d in ("cifar10", "svhn") for p in ("fast", "paper")
    ]


def test_data_sets_of_one_name_are_told_apart(matrix: list[CellResult]) -> None:
    changed = [replace(c, key=f"{c.key}-b", dataset=c.dataset | {"digest": "other"}) for c in matrix]
    assert "cifar10 (other)" in page_of([*matrix, *changed])


def test_a_data_set_has_its_name_and_its_selection_once(make_cell: MakeCell) -> None:
    page = page_of([make_cell("lsp", d, 0.9, dataset="npz:path=a.npz") for d in ("none", "dvae")])
    for part in (
        '<p class="where"><bdi>npz</bdi> ·',
        "<dt>data set</dt><dd>npz</dd>",
        "<dt>data set selected as</dt><dd>npz:path=a.npz</dd>",
        'data-data="npz"',
    ):
        assert part in page
    assert re.sub(r'data-selection="[^"]*"', "", page).count("npz:path=") == 1


def test_dates_and_machines_are_those_of_the_results(make_cell: MakeCell) -> None:
    cells = [make_cell(seed=0), make_cell(seed=1, created="2026-03-04T00:00:00+00:00", device="Other GPU")]
    page = page_of(cells)
    assert "<dd>2026-01-02 to 2026-03-04</dd>" in page
    assert "<dt>machines</dt><dd>Other GPU; Test GPU</dd>" in page
    assert "<dt>cells</dt><dd>2 finished, none missing</dd>" in page


def test_the_text_on_cost_names_repeats_and_both_flags(matrix: list[CellResult]) -> None:
    text = page_of(matrix).split("How the cost is measured</h3>")[1].split("<h3>")[0]
    words = " ".join(re.sub(r"<[^>]*>", "", text).split())
    for part in ("at most five times", "The median counts", "and 0.2 s more", Flag.PAYS_ONCE, Flag.UNEVEN):
        assert part in words


def test_what_a_defense_knows_is_named_and_explained(make_cell: MakeCell) -> None:
    plain = make_cell("none", "none")
    found = {}
    for use in (*USES, "a-friend"):
        cell = make_cell("lsp", "other")
        page = page_of([plain, replace(cell, defense=replace(cell.defense, uses=[use]))])
        assert f'title="uses {use}: {html.escape(explained(use))}"' in page
        assert f"<dt>uses {use}</dt>" in page
        found[use] = explained(use)
    assert len(set(found.values())) == len(USES) + 1
    assert "<dt>uses …</dt>" in page_of([plain])
