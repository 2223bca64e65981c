import io
from collections.abc import Callable

import pytest
from rich.console import Console

from bench.store.results import CellResult
from leaderboard.export.latex import latex_text
from leaderboard.export.terminal import print_leaderboard
from leaderboard.export.text import markdown_text
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]


def printed(cells: list[CellResult], width: int, terminal: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    print_leaderboard(leaderboard_frame(cells_frame(cells)), console)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_number_is_shown_whole_at_common_widths(matrix: list[CellResult], width: int) -> None:
    text = printed(matrix, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("1 ")]
    assert row == ["1", "dvae", "*90.0", "2.5", "*89.0", "*93.0", "*0.93", "6.67", "min", "5.00×", "6"]
    assert [line.split()[1:] for line in text.splitlines() if line.startswith("dvae")] == [["*91.0", "*89.0"]]


def test_many_attacks_are_split_over_tables(make_cell: MakeCell) -> None:
    attacks = ["none", *(f"attack-{i}:radius=0.0{i}" for i in range(8))]
    text = printed([make_cell(a, d) for a in attacks for d in ("none", "dvae")], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(attack in text for attack in attacks)
    assert text.count("accuracy by attack") > 1


def test_a_pipe_gets_wide_lines(make_cell: MakeCell) -> None:
    cells = [make_cell(f"attack-{i}", "dvae") for i in range(12)]
    assert printed(cells, 80, terminal=False).count("accuracy by attack") == 1


def test_flags_and_missing_cells_are_shown(matrix: list[CellResult], make_cell: MakeCell) -> None:
    cells = [c for c in matrix if (c.attack.name, c.defense.name, c.seed) != ("lsp", "dvae", 1)]
    text = printed([*cells, make_cell("lsp", "dvae", status="failed", seed=1)], 80)
    assert "dvae: 1 missing, failed" in text
    assert "iss (best per attack): oracle: iss-gray and iss-jpeg" in text


def test_names_are_never_markup(make_cell: MakeCell) -> None:
    text = printed([make_cell("none", "[red]x[/red]"), make_cell("[b]y", "[red]x[/red]")], 100)
    assert "[red]x[/red]" in text
    assert "[b]y" in text


def test_the_range_of_a_cost_is_shown_on_every_surface(make_cell: MakeCell) -> None:
    cells = [make_cell("lsp", d, purify=p, seed=s) for d in ("none", "slow") for s, p in enumerate((3.9, 4.1, 4.4))]
    assert "measured range: slow 3.9–4.4 s" in printed(cells, 80)
    board = leaderboard_frame(cells_frame(cells))
    assert "| **4.1 s (3.9–4.4 s)** |" in markdown_text(board)
    assert r"& \textbf{4.1 s (3.9--4.4 s)} &" in latex_text(board)


def test_ties_share_a_place_and_the_star(make_ranked_cell: MakeCell) -> None:
    values = {"a": (0.90, 0.92), "b": (0.89, 0.91), "c": (0.50, 0.51)}
    cells = [make_ranked_cell(t, n, v[s], seed=s) for n, v in values.items() for t in ("none", "lsp") for s in range(2)]
    lines = [line.split() for line in printed(cells, 80).splitlines()]
    assert [line[:3] for line in lines if line[1:2] in (["a"], ["b"], ["c"])][:3] == [
        ["=1", "a", "*91.0"],
        ["=1", "b", "*90.0"],
        ["3", "c", "50.5"],
    ]
