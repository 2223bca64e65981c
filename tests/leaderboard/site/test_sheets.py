import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.store.results import CellResult
from leaderboard.site.contact_sheet import read_samples, shown_samples
from leaderboard.site.sheets import Sheets, draw_sheets
from tests.leaderboard.sample_store import write_samples

MakeCell = Callable[..., CellResult]


def test_what_cells_share_is_stored_once(make_cell: MakeCell, tmp_path: Path) -> None:
    names = [("lsp", "dvae", "a"), ("lsp", "dvae", "b"), ("lsp", "none", "a"), ("ops", "dvae", "a")]
    cells = [make_cell(attack, defense, victim=victim) for attack, defense, victim in names]
    for cell in cells:
        cell.artifacts.update(poison=cell.attack.text, purify=f"{cell.attack.text}-{cell.defense.text}")
        write_samples(tmp_path, cell)
    sheets = draw_sheets(cells, [tmp_path / "elsewhere", tmp_path])
    lsp, twin, undefended, ops = (sheets.by_cell[cell.key].strips for cell in cells)
    assert lsp == twin
    assert len({lsp["clean"], undefended["clean"], ops["clean"]}) == 1
    assert lsp["poisoned"] == undefended["poisoned"] == undefended["purified"] != ops["poisoned"]
    assert set(sheets.files) == {path for strips in (lsp, undefended, ops) for path in strips.values()}
    assert len(sheets.files) == 1 + 2 + 2 + 2 * 2, "clean, two a poison, two a purification"


def test_a_strip_shows_the_pixels_that_were_trained_on(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("lsp", "dvae")
    write_samples(tmp_path, cell)
    sheets = draw_sheets([cell], [tmp_path])
    samples = read_samples(tmp_path, cell)
    assert samples is not None
    sheet = sheets.by_cell[cell.key]
    with Image.open(io.BytesIO(sheets.files[sheet.strips["purified"]])) as picture:
        pixels = np.asarray(picture).transpose(2, 0, 1)
    assert np.array_equal(pixels, np.concatenate(list(samples[2]), axis=2))
    assert sheet.images == len(sheet.each_purified_psnr_db) == 12
    assert sheet.poison_psnr_db == pytest.approx(34.3, abs=0.2), "uniform noise of up to 8 levels"
    error = np.square(samples[1][0].astype(float) - samples[0][0]).mean()
    assert sheet.each_poison_psnr_db[0] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def test_twelve_samples_of_two_a_class_show_all_ten_classes() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 2)
    assert set(shown_samples(labels)) == set(range(10))
    assert len(shown_samples(labels)) == 12
    assert len(shown_samples(labels[:7])) == 7


def test_cells_without_samples_have_no_sheet(make_cell: MakeCell, tmp_path: Path) -> None:
    assert draw_sheets([make_cell(), make_cell(status="failed", seed=1)], [tmp_path]) == Sheets()


def test_a_damaged_artifact_costs_its_pictures_alone(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell("lsp", "dvae"), make_cell("ops", "dvae")]
    for number, cell in enumerate(cells):
        cell.artifacts.update(poison=f"p{number}", purify=f"q{number}")
        write_samples(tmp_path, cell)
    (data,) = tmp_path.glob("artifacts/poison/p0/p0/data.safetensors")
    data.write_bytes(data.read_bytes()[:100])
    sheets = draw_sheets(cells, [tmp_path])
    assert set(sheets.by_cell) == {cells[1].key}
    (line,) = sheets.damaged
    assert str(data) in line
    assert "run the same command again" in line
