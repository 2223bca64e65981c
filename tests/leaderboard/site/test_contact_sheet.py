from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.store.results import CellResult
from leaderboard.site.contact_sheet import contact_sheet, read_samples
from tests.leaderboard.sample_store import clean_images, write_samples

MakeCell = Callable[..., CellResult]


def test_samples_are_read_back(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("lsp", "dvae")
    write_samples(tmp_path, cell)
    found = read_samples(tmp_path, cell)
    assert found is not None
    clean, poison, purified = found
    assert (clean == clean_images()).all()
    assert np.abs(poison.astype(int) - clean).max() == 8
    assert np.abs(purified.astype(int) - poison).max() == 3


def test_no_artifact_is_no_sample(make_cell: MakeCell, tmp_path: Path) -> None:
    assert read_samples(tmp_path, make_cell()) is None


@pytest.mark.parametrize("shape", [(10, 3, 32, 32), (20, 3, 32, 32), (3, 1, 28, 28), (2, 3, 224, 224)])
def test_a_sheet_shows_differences_from_gray(shape: tuple[int, ...]) -> None:
    clean = np.full(shape, 100, dtype=np.uint8)
    sheet = contact_sheet(clean, clean + 2, clean)
    colors = {color for _, color in sheet.getcolors(1 << 20)}
    assert {(100,) * 3, (102,) * 3, (128 + 32,) * 3, (128,) * 3} <= colors
    assert sheet.width < 1300
