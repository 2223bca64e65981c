"""Contact sheets of an attack and a defense: clean, poisoned, perturbation, purified, residual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors import SafetensorError, safe_open

from bench.errors import UserError
from bench.formats import decibels
from bench.store.results import CellResult
from bench.store.scores import psnr_db

Images = NDArray[np.uint8]
COLUMNS = ("clean", "poisoned", "perturbation x16", "purified", "residual x16")
REMEDY = "run the same command again, which makes it anew (`bench cache verify` lists such artifacts)"
_GAIN, _GAP, _HEAD, _FOOT, _SHOWN = 16, 4, 14, 12, 12


def read_samples(store_root: Path, cell: CellResult) -> tuple[Images, Images, Images] | None:
    """The sample images of a cell as uint8 (S, C, H, W): clean, poisoned, purified; None if the artifacts lack them."""
    poison, purify = (_tensors(store_root, stage, cell) for stage in ("poison", "purify"))
    clean = next((part["sample_clean"] for part in (poison, purify) if "sample_clean" in part), None)
    if clean is None:
        return None
    poisoned = poison.get("sample_result", clean if cell.attack.name == "none" else None)
    if poisoned is None:
        return None
    purified = purify.get("sample_result", poisoned if cell.defense.name == "none" else None)
    return None if purified is None else (clean, poisoned, purified)


def shown_samples(images: Images) -> Images:
    """At most twelve samples, spread evenly: artifacts hold two of each class, class by class."""
    rows = np.linspace(0, len(images) - 1, min(len(images), _SHOWN)).round().astype(int)
    return images[rows]


def contact_sheet(clean: Images, poison: Images, purified: Images) -> Image.Image:
    """One row per image (at most 12, across classes) with its PSNR against the clean one; no difference is gray.

    Args:
        clean: uint8 (S, C, H, W), 1 or 3 channels.
        poison: the same images with the perturbation.
        purified: the same images after the defense.
    """
    clean, poison, purified = (shown_samples(images) for images in (clean, poison, purified))
    count, _, height, width = clean.shape
    scale = max(1, round(64 / height))
    tall, wide = height * scale, max(width * scale, 96)
    sheet = Image.new("RGB", (5 * (wide + _GAP), _HEAD + count * (tall + _FOOT + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        draw.text((column * (wide + _GAP), 1), title, fill="black")
    for row in range(count):
        top = _HEAD + row * (tall + _FOOT + _GAP)
        shown = (
            clean[row],
            poison[row],
            amplified(poison[row], clean[row]),
            purified[row],
            amplified(purified[row], clean[row]),
        )
        for column, image in enumerate(shown):
            left = column * (wide + _GAP)
            sheet.paste(_picture(image).resize((width * scale, tall), Image.Resampling.NEAREST), (left, top))
            if column in (1, 3):
                draw.text((left, top + tall), decibels(psnr(image, clean[row])), fill="black")
    return sheet


def psnr(image: Images, reference: Images) -> float | None:
    """Peak signal-to-noise ratio in dB over all entries; None if the two are equal."""
    return psnr_db(float(np.square(image.astype(np.float64) - reference).sum()), image.size)


def _tensors(root: Path, stage: str, cell: CellResult) -> dict[str, Images]:
    key = cell.artifacts.get(stage, "")
    path = Path(f"{root}/artifacts/{stage}/{key[:2]}/{key}/data.safetensors")
    if not key or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in ("sample_clean", "sample_result") if name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise UserError(f"{path}: damaged ({error}); {REMEDY}") from error


def amplified(image: Images, reference: Images) -> Images:
    """Sixteen times the difference around middle gray, cut at black and white."""
    return np.clip(128 + _GAIN * (image.astype(np.int16) - reference), 0, 255).astype(np.uint8)


def _picture(image: Images) -> Image.Image:
    planes = np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
