"""Tells whether the numbers of an array are images or noise, and on which scale."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from attacks.from_file.arrays import Located, Wanted
from attacks.from_file.fit import correlation
from attacks.from_file.found import Found, by_class, without_classes
from bench.api import ImageSet, add_perturbation
from bench.errors import UserError

_LEVELS = (torch.int16, torch.int32, torch.int64)
_LIKE_THE_IMAGES = 0.5  # median correlation; poisons within published budgets keep more than 0.9, strangers have 0.2
_SMALL = 76 / 255  # of the full range: the largest noise that is taken for noise though nothing is negative
_SAMPLE = 256


@dataclass(frozen=True)
class _Reading:
    """One way to read numbers: as images or noise, `full` being the whole range of a pixel."""

    content: Literal["images", "noise"]
    full: int

    @property
    def low(self) -> float:
        return 0.0 if self.content == "images" else -self.full

    def __str__(self) -> str:
        return f"{self.content} on {self.low:g}..{self.full:g}"


def interpret(located: Located, wanted: Wanted, train: ImageSet, rows: Tensor) -> Found:
    """Reads its numbers as images or as noise.

    Args:
        located: the array.
        wanted: what the user says.
        train: the clean set.
        rows: int64, the images that may be poisoned; entries of others are not looked at.

    Raises:
        UserError: for a type or numbers that are neither, or may be both.
    """
    path, values, entry_of, wise = located.path, located.values, located.entry_of, located.wise
    used = rows[entry_of[rows] >= 0]
    low, high = _range(values, entry_of, used, path, train)
    similar = None
    if wise == "sample" and len(used):
        some = used[torch.linspace(0, len(used) - 1, min(len(used), _SAMPLE)).long()]
        similar = float(correlation(values[entry_of[some]].double(), train.images[some].double()).nanmedian())
    reading, why = _reading(values, low, high, similar, path, wanted)

    def onto(entries: Tensor, images_u8: Tensor) -> Tensor:
        read = values[entries]
        if reading.content == "images" and read.dtype == torch.uint8:
            return read
        levels = read.double() * (255 / reading.full)
        if reading.content == "images":
            return levels.round().clamp(0, 255).to(torch.uint8)
        return add_perturbation(images_u8, levels / 255)

    said = {"content": f"{reading}, {wise}-wise, of {str(values.dtype).removeprefix('torch.')}: {why}"}
    return Found(path, reading.content, entry_of, onto, said, located.notes)


def _range(values: Tensor, entry_of: Tensor, used: Tensor, path: Path, train: ImageSet) -> tuple[float, float]:
    """Smallest and largest number of the entries that are used, all of them finite."""
    if values.dtype != torch.uint8 and values.dtype not in (torch.int8, *_LEVELS) and not values.is_floating_point():
        raise UserError(f"from-file: {path}: cannot import {values.dtype}; export uint8, int8 or float32")
    bad, low, high = [], math.inf, -math.inf
    for rows in torch.split(used, _SAMPLE):
        here = values[entry_of[rows]]
        finite = here.isfinite().flatten(1).all(dim=1)
        bad.append(rows[~finite])
        if finite.any():
            lowest, highest = here[finite].aminmax()
            low, high = min(low, float(lowest)), max(high, float(highest))
    if len(broken := torch.cat(bad or [used])):
        remedy = without_classes(train.labels[broken].unique().tolist(), train.info.num_classes)
        raise UserError(
            f"from-file: {path}: has entries that are NaN or infinite, "
            f"{by_class(used, torch.isin(used, broken), train.labels)}; get a repaired file{remedy}"
        )
    return low, high


def _reading(
    values: Tensor, low: float, high: float, similar: float | None, path: Path, wanted: Wanted
) -> tuple[_Reading, str]:
    """Images or noise, and why: by what the user says, by type and range, by likeness to the clean images."""
    if values.dtype == torch.uint8:
        if wanted.content == "noise":
            raise UserError(f"from-file: {path}: uint8 cannot hold signed noise; export int8 or float32")
        return _Reading("images", 255), "by its type"
    if values.dtype == torch.int8 and wanted.content == "images":
        raise UserError(f"from-file: {path}: torch.int8 is for noise levels; export images as uint8")
    readings = _possible(values, low, high)
    if wanted.content != "auto":
        readings = [reading for reading in readings if reading.content == wanted.content]
    if not readings:
        content = "noise" if wanted.content == "auto" else wanted.content
        lowest, full = (0, 1) if content == "images" else (-1, 1)
        if not values.is_floating_point():
            lowest, full = 255 * lowest, 255
        raise UserError(
            f"from-file: {path}: {content} as {values.dtype} must lie in {lowest}..{full}, "
            f"found {low:g}..{high:g}; undo any normalization, and divide levels that are not whole by 255"
        )
    alike = similar is not None and similar >= _LIKE_THE_IMAGES
    measured = "one entry for each class" if similar is None else f"correlation {similar:.2f} with the clean images"
    if wanted.content != "auto":
        return readings[0], f"as you say; {measured}"
    images, noise = ([r for r in readings if r.content == content] for content in ("images", "noise"))
    if alike and not images and values.is_floating_point():
        raise UserError(
            f"from-file: {path}: {low:g}..{high:g} with {measured}: these are normalized images; undo the "
            "normalization (times std, plus mean), or set content=noise"
        )
    if images and (alike or not noise):
        return images[0], measured
    if noise and (low < 0 or similar is None or high <= _SMALL * noise[0].full):
        return noise[0], f"{measured}, {low:g}..{high:g}"
    raise UserError(
        f"from-file: {path}: {values.dtype} in {low:g}..{high:g} with {measured} may be images or noise; "
        "set content=images or content=noise"
    )


def _possible(values: Tensor, low: float, high: float) -> list[_Reading]:
    """All readings whose type and range fit."""
    size = max(abs(low), abs(high))
    if not values.is_floating_point():
        images = [_Reading("images", 255)] if values.dtype != torch.int8 and 0 <= low <= high <= 255 else []
        return images + ([_Reading("noise", 255)] if size <= 255 else [])
    if size <= 1:
        return ([_Reading("images", 1)] if low >= 0 else []) + [_Reading("noise", 1)]
    if size > 255:
        return []
    whole = all(bool((part == part.round()).all()) for part in torch.split(values, _SAMPLE))
    return ([_Reading("images", 255)] if low >= 0 else []) + ([_Reading("noise", 255)] if whole else [])
