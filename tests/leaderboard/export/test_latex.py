import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.store.results import CellResult
from leaderboard.export.latex import escaped, latex_text
from leaderboard.export.text import markdown_text
from leaderboard.tables.groups import BEST_RULE, groups, is_best
from leaderboard.tables.shown import View, of_attack, shown_in
from leaderboard.tables.table import cells_frame, leaderboard_frame

MakeCell = Callable[..., CellResult]
PDFLATEX = shutil.which("pdflatex")


def latex(cells: list[CellResult]) -> str:
    return latex_text(leaderboard_frame(cells_frame(cells)))


def row_of(text: str, defense: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{defense} &")]
    return line.removesuffix(r" \\").split(" & ")


def test_the_table_has_the_numbers_of_the_board(matrix: list[CellResult]) -> None:
    text = latex(matrix)
    assert BEST_RULE in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert row_of(text, "dvae")[1:4] == [r"\textbf{91.0}", r"\textbf{89.0}", r"\textbf{90.0} $\pm$ 2.5"]
    assert row_of(text, "iss{-}jpeg")[3] == r"82.0 $\pm$ 2.5"
    assert row_of(text, "dvae")[7:] == ["6.67 min", r"5.00$\times$", "6"]


def test_rows_that_cannot_be_told_apart_share_the_bold(make_cell: MakeCell) -> None:
    values = {"a": (0.90, 0.92, 0.94), "b": (0.89, 0.91, 0.93), "c": (0.50, 0.51, 0.52)}
    cells = [
        make_cell(attack, name, values[name][seed], seed=seed)
        for name in values
        for attack in ("none", "lsp")
        for seed in range(3)
    ]
    text = latex(cells)
    assert [row_of(text, name)[1].startswith(r"\textbf") for name in "abc"] == [True, True, False]


def test_bold_is_what_the_page_marks(make_ranked_cell: MakeCell) -> None:
    """One seed: `b` shares rank 1, for 10,000 images leave 0.6 points open; against lsp it does not print alike."""
    values = {"a": (0.9, 0.5), "b": (0.896, 0.5), "c": (0.7, 0.5)}
    cells = [
        make_ranked_cell(t, n, v) for n, (lsp, clean) in values.items() for t, v in (("none", clean), ("lsp", lsp))
    ]
    board = leaderboard_frame(cells_frame(cells))
    bold = [["textbf" in cell for cell in row_of(latex(cells), name)[1:5]] for name in "abc"]
    assert bold == [[True, True, True, True], [False, True, False, True], [False, False, False, True]]
    ((_, group),) = groups(board)
    columns = [of_attack("lsp"), *shown_in(View.LATEX)[:3]]
    assert bold == [[is_best(row, column, group) for column in columns] for _, row in group.iterrows()]
    lines = [line.split(" | ") for line in markdown_text(board).splitlines() if re.match(r"\| [=1-9]", line)]
    places = (-2, 2, 4, 5)  # lsp, mean, worst, clean
    assert bold == [["**" in line[place] for place in places] for line in lines]


def test_without_an_interval_only_what_prints_alike_shares_it(make_ranked_cell: MakeCell) -> None:
    cells = [make_ranked_cell(t, n, v) for n, v in (("a", 0.9), ("b", 0.9003), ("c", 0.89)) for t in ("none", "lsp")]
    assert [row_of(latex(cells), name)[1].startswith(r"\textbf") for name in "abc"] == [True, True, False]


def test_nothing_is_bold_where_no_row_has_a_rank(make_cell: MakeCell) -> None:
    cells = [make_cell(t, n, v, purify=v) for n, v in (("a", 0.9), ("b", 0.8)) for t in ("none", "lsp")]
    assert r"\textbf" not in latex(cells), "one seed: all rows are provisional"


def below(text: str) -> str:
    """The lines below the table, as one."""
    (lines,) = re.findall(r"\\addlinespace\n(.*)\\end\{tabular\}", text, re.DOTALL)
    texts = re.findall(r"^\\multicolumn\{\d+\}\{l\}\{(.*)\} \\\\$", lines, re.MULTILINE)
    assert len(texts) == lines.count("\n")
    return " ".join(texts)


def test_what_is_behind_the_numbers_is_printed_below_them(matrix: list[CellResult], make_cell: MakeCell) -> None:
    assert below(latex(matrix)).startswith("All rows: n = 6 cells, 3 seeds, device Test GPU. ")
    logs = {"poison": {"converged": False}}
    cells = [
        make_cell(a, d, v, logs=logs if d == "b" else {}) for a in ("none", "lsp") for d, v in (("a", 0.9), ("b", 0.8))
    ]
    text = below(latex(cells))
    assert "All rows: n = 1 cell, 1 seed, device Test GPU. All rows: provisional. b: attack not converged" in text


def test_a_negative_number_has_a_minus_sign(make_ranked_cell: MakeCell) -> None:
    """Training with `short` takes 20 to 60 s, without 100 s; both make the poison worse."""
    extra = {"trains_differently": True}
    cells = [make_ranked_cell(a, "none", v, seed=s) for a, v in (("none", 0.9), ("lsp", 0.5)) for s in (0, 1)]
    cells += [
        make_ranked_cell(a, "short", 0.4, seed=s, purify=0, train=20 + 40 * s, extra=extra)
        for a in ("none", "lsp")
        for s in (0, 1)
    ]
    row = row_of(latex(cells), "short")
    assert row[5:7] == [r"\textbf{$-$0.25}", r"\textbf{$-$60 s ($-$80 to $-$40 s)}"]


def test_an_oracle_is_never_bold_and_stands_below_the_rule(matrix: list[CellResult]) -> None:
    lines = latex(matrix).splitlines()
    oracle = next(i for i, line in enumerate(lines) if line.startswith("iss (best"))
    assert lines[oracle - 1] == r"\midrule"
    assert "textbf" not in lines[oracle]


@pytest.mark.parametrize("name", [r"\input{x}", "50%_a&b", "$x^2~{", "a\nb", "#1"])
def test_names_are_never_commands(make_ranked_cell: MakeCell, name: str) -> None:
    text = latex([make_ranked_cell(), make_ranked_cell("lsp", name)])
    assert escaped(name) in text
    body = text.split(r"\midrule")[1]
    assert r"\input" not in body.replace(r"\textbackslash{}", "")


@given(st.text())
def test_special_characters_are_all_escaped(text: str) -> None:
    left = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\{[<>|\"'`-]\}|\$(-|\\times|\\mu)\$", "", escaped(text))
    assert not re.search(r"[\\&%$#_{}~^]", left)


HOSTILE = [r"\input{x}", "50%_a&b", "$x^2~{", "a\nb", "#1", "x" * 300, "مرحبا\u202eabc", "=cmd|'/C calc'!A0", "<é>"]


def test_every_line_has_as_many_columns_as_the_head(matrix: list[CellResult], make_ranked_cell: MakeCell) -> None:
    for text in (
        latex(matrix),
        latex([make_ranked_cell(a, d) for a in ("none", *HOSTILE) for d in ("none", *HOSTILE)]),
    ):
        tables = re.findall(r"\\begin\{tabular\}\{(l(r+))\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
        assert len(tables) == text.count(r"\begin{tabular}") > 0
        for columns, _, body in tables:
            lines = [line for line in body.splitlines() if not line.startswith("\\") or " & " in line]
            assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
            assert all(line.endswith(r" \\") for line in lines)
            unescaped = re.sub(r"\\[{}]", "", body)
            assert unescaped.count("{") == unescaped.count("}")


@pytest.mark.skipif(PDFLATEX is None, reason="install TeX, for example: apt install texlive-latex-recommended")
def test_the_tables_compile(matrix: list[CellResult], make_ranked_cell: MakeCell, tmp_path: Path) -> None:
    hostile = [make_ranked_cell(a, d, purify=1e-5) for a in ("none", "lsp") for d in HOSTILE]
    for number, cells in enumerate((matrix, hostile)):
        (tmp_path / f"{number}.tex").write_text(
            "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n\\tiny\n"
            f"{latex(cells)}\n\\end{{document}}\n"
        )
        command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{number}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout[-1500:]
