"""Every flag: who raises it, and that the page explains it."""

import html
import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from bench.store.results import CellResult
from leaderboard.export.terminal import print_leaderboard
from leaderboard.export.text import described_flags
from leaderboard.site.headline import headline
from leaderboard.site.page import render_pages
from leaderboard.site.scatter import figure
from leaderboard.site.views import Tables, tables_of
from leaderboard.tables.columns import BOARD_COLUMNS, as_text, typed
from leaderboard.tables.flags import Flag, Raised, has, shared_flags
from leaderboard.tables.table import frames_of

MakeCell = Callable[..., CellResult]


@pytest.fixture(scope="module")
def doubtful(make_cell: MakeCell) -> Tables:
    """Two boards with everything that a flag is raised for."""

    def cell(attack: str, defense: str, accuracy: float = 0.8, **changes: object) -> CellResult:
        return make_cell(attack, defense, accuracy, preset="fast", **changes)

    train = {"catastrophic_overfitting": True}
    cells = [
        *(cell("none", name, 0.95) for name in ("none", "iss-gray", "iss-jpeg", "at", "at-fast", "memo", "gone")),
        cell("lsp", "none", 0.94),
        cell("lsp", "iss-gray", exclusive=False),
        cell("lsp", "iss-jpeg", exclusive=None),
        cell("lsp", "at", logs={"poison": {"converged": False}, "train": train}),
        cell("lsp", "at-fast", logs={"train": {"catastrophic_overfitting": "not checked"}}, device="Other GPU"),
        cell("lsp", "memo", purify=0.3, repeats=[0.3, 0.001, 0.001], logs={"train": {"micro_batches": 4}}),
        cell("lsp", "gone", status="failed"),
    ]
    other = [
        make_cell(attack, name, accuracy + step, preset="demo", seed=seed)
        for name, accuracy in (("none", 0.6), ("iss-gray", 0.7), ("iss-jpeg", 0.75), ("eclipse", 0.4))
        for attack in ("none", "lsp")
        for seed, step in enumerate((0.0, 0.2 if name == "none" and attack == "lsp" else 0.01))
    ]
    cells += [
        replace(c, defense=replace(c.defense, uses=["test-set", "clean-originals"] * (c.defense.name == "eclipse")))
        for c in other
    ]
    elsewhere = [replace(cells[8], clean_test_accuracy=0.7), replace(cells[9], costs={})]
    return tables_of(frames_of(cells, elsewhere))


def chips(page: str) -> dict[str, str]:
    """Text and tooltip of every flag on the board."""
    found = re.findall(r'<span class="chip (?:bad|warn)" title="([^"]*)">([^<]*)</span>', page.split("</table>")[0])
    return {html.unescape(text): html.unescape(title) for title, text in found}


def test_every_flag_on_the_board_is_explained_in_its_tooltip_and_in_the_text(doubtful: Tables) -> None:
    page = render_pages([], doubtful, [])["index.html"]
    shown = {str(one): one.flag for flags in doubtful.board["flags"] for one in flags}
    assert set(shown.values()) == set(Flag), "this board has every flag"
    tooltips = chips(page)
    assert {re.sub(r"^\d+ ", "", text) for text in tooltips} == set(shown)
    for text, tooltip in tooltips.items():
        assert tooltip == f"{text}: {shown[re.sub('^[0-9]+ ', '', text)].explanation}"
    terms = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.split('<dl class="columns marks">')[1].split("</dl>")[0])
    assert {name: html.unescape(text) for name, text in terms}.items() >= {f.value: f.explanation for f in Flag}.items()


def test_flags_of_all_rows_stand_once_above_the_table(make_ranked_cell: MakeCell) -> None:
    accuracies = {("none", "none"): 0.9, ("none", "a"): 0.7, ("lsp", "none"): 0.1, ("lsp", "a"): 0.7}
    cells = [make_ranked_cell(*names, value, exclusive=False) for names, value in accuracies.items()]
    tables = tables_of(frames_of(cells))
    page = render_pages([], tables, [])["index.html"]
    above, _, table = page.split("</table>")[0].partition("<table")
    assert list(chips(above)) == ["not exclusive"]
    assert list(chips(table)) == ["clean accuracy lost"], "of one row"
    terminal = io.StringIO()
    print_leaderboard(tables.board, Console(file=terminal, width=80))
    assert terminal.getvalue().count("not exclusive") == terminal.getvalue().count("all rows: not exclusive\n") == 1
    assert "\na: clean accuracy lost\n" in terminal.getvalue()
    alone = shared_flags(tables.board[:1])
    assert not alone, "one row has flags of its own"


def test_the_name_of_an_attack_is_no_flag(make_ranked_cell: MakeCell) -> None:
    names = ("oracle", "missing", "a, b", "several devices")
    cells = [make_ranked_cell(name, logs={"poison": {"converged": False}}) for name in names]
    board = tables_of(frames_of([*cells, make_ranked_cell("lsp"), make_ranked_cell("none", accuracy=0.95)])).board
    flags = "attack not converged: a, b and missing and oracle and several devices"
    assert {str(one): one.flag for one in board["flags"][0]} == {flags: Flag.NOT_CONVERGED}
    assert described_flags(board.iloc[0]) == flags
    defended = [make_ranked_cell(name, "dvae", logs={"poison": {"converged": False}}) for name in names]
    page = render_pages(defended, tables_of(frames_of(defended)), [])["index.html"]
    assert '<tr class="single"' in page
    assert '<tr class="oracle"' not in page


def flags_of(cells: list[CellResult]) -> dict[str, list[str]]:
    board = frames_of(cells).board
    return {name: list(map(str, flags)) for name, flags in zip(board["defense"], board["flags"], strict=True)}


@pytest.mark.parametrize(
    ("preset", "seeds", "rank"),
    [("paper", 2, None), ("paper", 3, 1), ("cpu", 1, None), ("demo", 1, None), ("demo", 3, 1), ("", 2, None)],
)
def test_fewer_than_three_seeds_are_provisional_and_have_no_rank(
    make_cell: MakeCell, preset: str, seeds: int, rank: int | None
) -> None:
    cells = [
        make_cell(attack, name, value, preset=preset, seed=seed)
        for name, value in (("none", 0.9), ("good", 0.89), ("poor", 0.8))
        for attack in ("none", "lsp")
        for seed in range(seeds)
    ]
    board = frames_of(cells).board
    assert board["defense"].tolist() == ["good", "poor", "none"], "sorted by the mean all the same"
    assert [has(Flag.PROVISIONAL, flags) for flags in board["flags"]] == [rank is None] * 3
    assert board["rank"].fillna(0).tolist() == ([1, 2, 0] if rank else [0, 0, 0])
    assert board["cost_rank"].fillna(0).tolist() == [1, 1, 0], "a cost has no seeds"


@pytest.mark.parametrize(("clean", "lost"), [(0.85, False), (0.849, True), (0.99, False)])
def test_over_ten_points_of_clean_accuracy_are_too_much(make_ranked_cell: MakeCell, clean: float, lost: bool) -> None:
    cells = [make_ranked_cell("none", "none", 0.95), make_ranked_cell("lsp", "none", 0.1)]
    cells += [make_ranked_cell("none", "dvae", clean), make_ranked_cell("lsp", "dvae", 0.8)]
    assert flags_of(cells) == {"dvae": ["clean accuracy lost"] * lost, "none": []}
    assert flags_of(cells[1:])["dvae"] == [], "nothing to compare with"


def test_a_deviation_of_over_five_points_over_seeds_is_flagged_with_its_attacks(make_ranked_cell: MakeCell) -> None:
    """Of two values the deviation is their distance / sqrt(2): 7.0 points give 4.95, 7.2 give 5.09."""
    of_ops = {0: 0.60, 1: 0.672}
    cells = [make_ranked_cell("lsp", "dvae", 0.6 + 0.07 * seed, seed=seed) for seed in (0, 1)]
    cells += [make_ranked_cell("ops", "dvae", of_ops[seed], seed=seed) for seed in (0, 1)]
    assert flags_of(cells) == {"dvae": ["varies over seeds: ops"]}
    assert flags_of([cell for cell in cells if cell.seed == 0]) == {"dvae": []}, "one seed has no deviation"


def test_who_was_given_more_than_a_defender_has_is_flagged_and_not_ranked(make_ranked_cell: MakeCell) -> None:
    """It is better and cheaper than the others, and takes no place, no star and no corner of the front from them."""
    flags = {"test-set": "uses test data", "clean-originals": "uses clean originals"}
    flags["paired-data"] = flags["clean-originals"]
    for use, flag in flags.items():
        uses = {"informed": [use, "labels"], "cleaner": ["clean-data", "pretrained-weights"]}
        cells = [make_ranked_cell("none", "none", 0.95), make_ranked_cell("lsp", "none", 0.1)]
        cells += [make_ranked_cell("none", name, 0.9) for name in uses]
        cells += [make_ranked_cell("lsp", "informed", 0.9, purify=1), make_ranked_cell("lsp", "cleaner", 0.8)]
        cells = [replace(c, defense=replace(c.defense, uses=uses.get(c.defense.name, []))) for c in cells]
        assert flags_of(cells) == {"cleaner": [], "informed": [flag], "none": []}
        board = frames_of(cells).board
        assert board["defense"].tolist() == ["cleaner", "informed", "none"]
        assert board["rank"].fillna(0).tolist() == board["cost_rank"].fillna(0).tolist() == [1, 0, 0]
        assert headline(board, 10_000)[0].text == "cleaner"
        drawn = figure(board)
        assert drawn is not None
        (front,) = [trace for trace in drawn["data"] if trace["meta"] == "front"]
        assert set(front["y"]) == {80.0}
        alone = frames_of([cell for cell in cells if cell.defense.name != "cleaner"]).board
        assert headline(alone, 10_000)[0].note == "no defense that can be ranked has all its cells"


@pytest.mark.parametrize(
    ("attacks", "text"),
    [
        ("lsp", "lsp"),
        ("lsp ops", "all attacks"),
        ("none lsp ops", "all attacks and clean data"),
        ("none lsp", "lsp and none"),
    ],
)
def test_a_flag_of_every_attack_says_so(make_ranked_cell: MakeCell, attacks: str, text: str) -> None:
    raising = attacks.split()
    cells = [
        make_ranked_cell(a, "dvae", logs={"poison": {"converged": a not in raising}}) for a in ("none", "lsp", "ops")
    ]
    assert flags_of(cells) == {"dvae": [f"attack not converged: {text}"]}


def test_the_only_attack_of_a_board_is_named(make_ranked_cell: MakeCell) -> None:
    assert flags_of([make_ranked_cell("lsp", logs={"poison": {"converged": False}})]) == {
        "none": ["attack not converged: lsp"]
    }


def test_flags_are_values_until_they_are_written() -> None:
    flags = (Raised(Flag.ORACLE), Raised(Flag.NOT_CONVERGED, ("a, b", "c")))
    assert has(Flag.NOT_CONVERGED, flags)
    assert not has(Flag.FAILED, flags)
    frame = typed([{"flags": flags, "device": ("CPU", "GPU")}, {}], {n: BOARD_COLUMNS[n] for n in ("flags", "device")})
    assert frame["flags"].tolist() == [flags, ()]
    text = as_text(frame)
    assert text["flags"].tolist() == ["oracle, attack not converged: a, b and c", ""]
    assert text["device"].tolist() == ["CPU + GPU", ""]
