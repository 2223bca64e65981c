"""Contact sheets of a site: strips of small images, each stored once, whatever attacks, defenses and seeds share it.

A strip is one row of a sheet (clean, poisoned, perturbation x16, purified or residual x16), the samples next to each
other at their own size. The page enlarges and labels them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.site.contact_sheet import Images, amplified, psnr, read_samples, shown_samples

_LOSSLESS_UP_TO = 64


@dataclass(frozen=True)
class Sheet:
    """A contact sheet: its strips by name, their number of images, and the PSNR (dB) of each against the clean one.

    A PSNR is None where the two are equal; `poison_psnr_db` and `purified_psnr_db` are over all samples.
    """

    strips: dict[str, str]
    images: int
    poison_psnr_db: float | None
    purified_psnr_db: float | None
    each_poison_psnr_db: list[float | None]
    each_purified_psnr_db: list[float | None]


@dataclass
class Sheets:
    """Pictures by path, which cell shows which, and a line for each artifact whose pictures cannot be read."""

    files: dict[str, bytes] = field(default_factory=dict)
    by_cell: dict[str, Sheet] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def draw_sheets(cells: Iterable[CellResult], stores: Sequence[Path]) -> Sheets:
    """Draws every different pair of poison and purification once; a cell without samples has no sheet.

    Nor has one whose artifact is damaged: its numbers are in its file, and need no picture.
    """
    sheets, drawn = Sheets(), dict[tuple[str | None, str | None], Sheet | None]()
    for cell in cells:
        pair = cell.artifacts.get("poison"), cell.artifacts.get("purify")
        if pair not in drawn:
            drawn[pair] = None
            try:
                drawn[pair] = _draw(cell, stores, sheets.files) if any(pair) else None
            except UserError as error:
                sheets.damaged.append(f"no pictures of a cell: {error}")
        if (sheet := drawn[pair]) is not None:
            sheets.by_cell[cell.key] = sheet
    return sheets


def _draw(cell: CellResult, stores: Sequence[Path], files: dict[str, bytes]) -> Sheet | None:
    samples = next((found for root in stores if (found := read_samples(root, cell)) is not None), None)
    if samples is None:
        return None
    clean, poison, purified = (shown_samples(images) for images in samples)
    strips = {
        "clean": clean,
        "poisoned": poison,
        "perturbation": amplified(poison, clean),
        "purified": purified,
        "residual": amplified(purified, clean),
    }
    return Sheet(
        strips={name: _stored(images, files) for name, images in strips.items()},
        images=len(clean),
        poison_psnr_db=_rounded(psnr(poison, clean)),
        purified_psnr_db=_rounded(psnr(purified, clean)),
        each_poison_psnr_db=[_rounded(psnr(*pair)) for pair in zip(poison, clean, strict=True)],
        each_purified_psnr_db=[_rounded(psnr(*pair)) for pair in zip(purified, clean, strict=True)],
    )


def _stored(images: Images, files: dict[str, bytes]) -> str:
    """The path of these images as one strip; it is named by its pixels and compressed once."""
    strip = np.ascontiguousarray(np.concatenate(list(np.broadcast_to(images, _colored(images))), axis=2))
    path = f"sheets/{sha256(repr(strip.shape).encode() + strip.tobytes()).hexdigest()[:16]}.webp"
    if path not in files:
        buffer = io.BytesIO()
        # Small images are kept as they were trained on, with the quickest effort (a quarter larger, thirty times
        # faster); large ones would make a site of gigabytes.
        lossless = images.shape[2] <= _LOSSLESS_UP_TO
        picture = Image.fromarray(np.ascontiguousarray(strip.transpose(1, 2, 0)))
        picture.save(buffer, "WEBP", lossless=lossless, quality=50 if lossless else 80, method=0 if lossless else 4)
        files[path] = buffer.getvalue()
    return path


def _colored(images: Images) -> tuple[int, ...]:
    count, _, height, width = images.shape
    return count, 3, height, width


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
