"""Expected times of an H200, next to the figures of a card; an estimate says what it was estimated from."""

from __future__ import annotations

from typing import Any, NamedTuple

from bench.store.results import of_training
from gpu.cells import names
from gpu.scale import FULL

IMAGES = 50_000
CARD = "H200"
Slices = dict[str, dict[str, Any]]


class Target(NamedTuple):
    """A goal in seconds for 50,000 images.

    Attributes:
        what: in words.
        goal: seconds on the card it was set for.
        seconds: None, and `basis` says so, where nothing was measured.
        basis: measured, scaled or estimated from what.
        devices: on which it was measured, with their engines.
    """

    what: str
    goal: float
    seconds: float | None
    basis: str
    devices: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        if self.seconds is None:
            return "not measured"
        if not all(CARD in device for device in self.devices):
            return "other card"
        return "met" if self.seconds <= self.goal else "not met"


Found = tuple[float | None, str, tuple[str, ...]]


def targets(slices: Slices) -> list[Target]:
    """All goals, from the slices of full size."""
    slices = {name: e for name, e in slices.items() if e["asked"]["scale"] == "full" and "error" not in e}
    table = "whole table, `paper` (poisons crafted with `fast` settings), one seed"
    return [
        Target("ResNet-18, 60 epochs, clean images", 60, *_training(slices)),
        Target("D-VAE, both stages, `paper`", 180, *_dvae(slices, "paper")),
        Target("D-VAE, both stages, `fast`", 45, *_dvae(slices, "fast")),
        Target("adversarial training, 100 epochs", 720, *_estimate(slices, "rates/at", 100)),
        Target(table, 3600, *_table(slices)),
    ]


def devices(cells: list[dict[str, Any]]) -> tuple[str, ...]:
    """Of all costs of these cells, each once."""
    return tuple(dict.fromkeys(cost["device"] for cell in cells for cost in cell["costs"].values()))


def _training(slices: Slices) -> Found:
    entry = slices.get("paper/none/none/0")
    if entry is None:
        return _estimate(slices, "rates/training", 60)
    (cell,) = entry["cells"]
    return _scaled(of_training(cell["costs"]["train"]["phases"]), [cell])


def _dvae(slices: Slices, preset: str) -> Found:
    """The slowest of the attacks and seeds."""
    cells = [
        cell
        for name, entry in slices.items()
        if name.startswith(f"{preset}/") and "/dvae/" in name
        for cell in entry["cells"]
    ]
    if not cells:
        return None, "not measured", ()
    slowest = max(cells, key=lambda cell: cell["costs"]["purify"]["wall_seconds"])
    return _scaled(slowest["costs"]["purify"]["wall_seconds"], [slowest])


def _table(slices: Slices) -> Found:
    """Every artifact of the `paper` slices once, if all of them are there."""
    wanted = [name for name in names(FULL) if name.startswith("paper/")]
    missing = sum(name not in slices for name in wanted)
    if missing:
        return None, f"{missing} of {len(wanted)} slices are missing", ()
    cells = [cell for name in wanted for cell in slices[name]["cells"]]
    seconds = {
        cell["artifacts"][stage]: cost["wall_seconds"] for cell in cells for stage, cost in cell["costs"].items()
    }
    return _scaled(sum(seconds.values()), cells)


def _scaled(seconds: float, cells: list[dict[str, Any]]) -> Found:
    images = cells[0]["train_images"]
    if images == IMAGES:
        return seconds, "measured", devices(cells)
    return seconds * IMAGES / images, f"scaled from {images:,} images", devices(cells)


def _estimate(slices: Slices, name: str, epochs: int) -> Found:
    if name not in slices:
        return None, "not measured", ()
    rate = slices[name]["rate"]
    return epochs * IMAGES / rate["per_second"], f"estimated from {name}", (rate["cost"]["device"],)
