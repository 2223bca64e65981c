"""One published site for all browser tests of a process."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.store.results import CellResult
from leaderboard.site.methods import Method
from tests.leaderboard.publishing import publish
from tests.leaderboard.sample_store import write_samples

if TYPE_CHECKING:
    from playwright.sync_api import Page

MakeCell = Callable[..., CellResult]
OpenPage = Callable[[str], "Page"]
METHODS = [Method("defense", "dvae", "arXiv:2405.01460", description="Purify.", parameters={"epochs": "60"})]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def site(cells: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("published")
    for cell in cells:
        write_samples(root / "store", cell)
    return publish(cells, root / "site", [root / "store"], METHODS)["index.html"].parent.as_uri()


@pytest.fixture
def page(open_page: OpenPage, site: str) -> "Page":
    return open_page(f"{site}/index.html")
