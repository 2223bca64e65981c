"""Draws the pictures of the README and the pages from `boards/cifar10-cpu`: `python docs/pictures.py`.

Needs what `make test` installs, and Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
BOARD = DOCS.parent / "boards/cifar10-cpu"
VICTIM = "small-cnn"
CELL = f"cell.html#attack=em&defense=dvae&victim={VICTIM}&seed=0"
COLORS = 128  # of a palette: a picture of text needs no more, and takes a quarter of the bytes


def main() -> None:
    """Writes `board.png`, `phone.png`, `cell.png` and the figures."""
    with TemporaryDirectory() as folder:
        site, figures = Path(folder, "site"), Path(folder, "figures")
        _bench("publish", "--store", BOARD, "--out", site)
        _bench("figures", "--store", BOARD, "--out", figures)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, address, width, height, top in (
                ("board", "index.html", 1440, 1320, "body"),
                ("cell", CELL, 1440, 1100, "body"),
                ("phone", "index.html", 390, 1100, "#board-title"),
            ):
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(f"{site.as_uri()}/{address}")
                _write(name, _picture(page, top))
            browser.close()
        for name in ("accuracy-cost", "heat-map"):
            (drawn,) = figures.glob(f"*-{VICTIM}-*/{name}-double.png")
            shutil.copyfile(drawn, DOCS / f"{name}.png")


def _bench(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "bench", *map(str, words)], check=True)


def _picture(page: Page, top: str) -> bytes:
    """What is in sight when this element is at the top."""
    page.locator(top).evaluate("(place) => place.scrollIntoView()")
    page.wait_for_timeout(2000)  # charts are drawn when the page is idle
    return page.screenshot()


def _write(name: str, png: bytes) -> None:
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    image.save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
