"""What the text field of the board finds: names, papers, authors."""

import csv
import html
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files

import pytest

from bench.cli.methods import methods
from bench.registry import defenses
from bench.store.results import CellResult
from leaderboard.published.papers import papers_of
from leaderboard.published.sources import sources
from leaderboard.site.page import render_pages
from leaderboard.site.views import tables_of
from leaderboard.tables.table import frames_of

MakeCell = Callable[..., CellResult]
NAMES = ("dvae", "iss-jpeg", "at", "op", "svd", "cutmix+iss-gray")


@pytest.fixture(scope="module")
def about(make_cell: MakeCell) -> dict[str, str]:
    """Text behind each row that is searched and not shown."""
    cells = []
    for name in NAMES:
        cell = make_cell("lsp", name)
        source = ", ".join(defenses[part].source for part in name.split("+"))
        cells.append(replace(cell, defense=replace(cell.defense, name=name, source=source)))
    page = render_pages(cells, tables_of(frames_of(cells)), methods())["index.html"]
    found = re.findall(r'data-defense="([^"]*)" data-about="([^"]*)"', page)
    return {name: html.unescape(text).lower() for name, text in found}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("D-VAE", {"dvae"}),
        ("Image Shortcut Squeezing", {"iss-jpeg", "cutmix+iss-gray"}),
        ("Liu", {"iss-jpeg", "cutmix+iss-gray"}),
        ("liu2023iss", {"iss-jpeg", "cutmix+iss-gray"}),
        ("adversarial training", {"at"}),
        ("orthogonal projection", {"op"}),
        ("Sandoval", {"op"}),
        ("Yun", {"cutmix+iss-gray"}),
    ],
)
def test_a_long_name_an_author_or_a_key_finds_the_defense(
    about: dict[str, str], words: str, expected: set[str]
) -> None:
    assert {name for name, text in about.items() if all(word in text for word in words.lower().split())} == expected


def test_keys_of_papers_are_those_of_published_values() -> None:
    with (files("leaderboard.published") / "papers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["source"] for row in rows}) == len(rows)
    assert {row["key"] for row in rows} - {""} <= sources().keys()
    assert all(row["authors"] and row["title"] for row in rows)


def test_an_unknown_source_has_no_paper() -> None:
    assert papers_of("folklore") == ""
