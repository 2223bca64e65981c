"""What a card is expected to do, beside what it did; an estimate says what it was estimated from."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpu.cells import names
from gpu.scale import FULL

IMAGES = 50_000
Slices = dict[str, dict[str, Any]]


class Target(NamedTuple):
    """A goal in seconds for 50,000 images; `seconds` is None, and `basis` says so, where nothing was measured."""

    what: str
    goal: float
    seconds: float | None
    basis: str

    @property
    def verdict(self) -> str:
        if self.seconds is None:
            return "not measured"
        return "met" if self.seconds <= self.goal else "not met"


def targets(slices: Slices) -> list[Target]:
    """All goals, from the slices of full size."""
    slices = {name: entry for name, entry in slices.items() if entry["scale"] == "full" and "error" not in entry}
    return [
        Target("ResNet-18, 60 epochs, clean images", 60, *_training(slices)),
        Target("D-VAE, both stages, `paper`", 180, *_dvae(slices, "paper")),
        Target("D-VAE, both stages, `fast`", 45, *_dvae(slices, "fast")),
        Target("adversarial training, 100 epochs", 720, *_estimate(slices, "rates/at", 100)),
        Target("whole table, `paper`, one seed", 3600, *_table(slices)),
    ]


def train_seconds(cell: dict[str, Any]) -> float:
    """Compiling, if it was compiled, and training."""
    phases = cell["costs"]["train"]["phases"]
    return float(phases.get("warm", 0.0) + phases["train"])


def _training(slices: Slices) -> tuple[float | None, str]:
    entry = slices.get("paper/none/none")
    if entry is None:
        return _estimate(slices, "rates/training", 60)
    (cell,) = entry["cells"]
    return _scaled(train_seconds(cell), cell)


def _dvae(slices: Slices, preset: str) -> tuple[float | None, str]:
    """The slowest of the attacks."""
    cells = [
        cell
        for name, entry in slices.items()
        if name.startswith(f"{preset}/") and name.endswith("/dvae")
        for cell in entry["cells"]
    ]
    if not cells:
        return None, "not measured"
    slowest = max(cells, key=lambda cell: cell["costs"]["purify"]["wall_seconds"])
    return _scaled(slowest["costs"]["purify"]["wall_seconds"], slowest)


def _table(slices: Slices) -> tuple[float | None, str]:
    """Every artifact of the `paper` slices once, if all of them are there."""
    wanted = [name for name in names(FULL) if name.startswith("paper/")]
    missing = sum(name not in slices for name in wanted)
    if missing:
        return None, f"{missing} of {len(wanted)} slices are missing"
    cells = [cell for name in wanted for cell in slices[name]["cells"]]
    seconds = {
        cell["artifacts"][stage]: cost["wall_seconds"] for cell in cells for stage, cost in cell["costs"].items()
    }
    return _scaled(sum(seconds.values()), cells[0])


def _scaled(seconds: float, cell: dict[str, Any]) -> tuple[float, str]:
    if cell["train_images"] == IMAGES:
        return seconds, "measured"
    return seconds * IMAGES / cell["train_images"], f"scaled from {cell['train_images']:,} images"


def _estimate(slices: Slices, name: str, epochs: int) -> tuple[float | None, str]:
    if name not in slices:
        return None, "not measured"
    return epochs * IMAGES / slices[name]["rate"]["per_second"], f"estimated from {name}"
