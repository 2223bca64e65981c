"""Writes a store of made-up cells, to see how publishing and the page behave at scale.

    python tests/leaderboard/synthetic.py STORE [CELLS]

20,000 cells: 20 attacks (and clean data) x 24 defenses (and none) x 13 victims x 3 seeds, rounded up to whole rows;
60 epochs of curve each; no artifacts. The same arguments give the same bytes.
"""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import asdict
from pathlib import Path

from bench.store.results import SCHEMA_VERSION, CellResult, Component, Cost

ATTACKS, DEFENSES, SEEDS, EPOCHS = 20, 24, 3, 60
DATASET = {"spec": "cifar10", "name": "cifar10", "digest": "d" * 64, "num_classes": 10, "shape": [3, 32, 32]}
DATASET |= {"train_images": 50_000, "test_images": 10_000}


def synthetic_cells(count: int) -> list[CellResult]:
    """At least `count` finished cells: whole victims, so that every row of the board is complete."""
    victims = math.ceil(count / ((ATTACKS + 1) * (DEFENSES + 1) * SEEDS))
    return [
        _cell(attack, defense, victim, seed)
        for victim in range(victims)
        for attack in range(ATTACKS + 1)
        for defense in range(DEFENSES + 1)
        for seed in range(SEEDS)
    ]


def _cell(attack: int, defense: int, victim: int, seed: int) -> CellResult:
    rng = random.Random(f"{attack}-{defense}-{victim}-{seed}")
    harm, repair = attack / ATTACKS, defense / DEFENSES
    accuracy = round(0.94 - 0.8 * harm * (1 - repair) - 0.05 * repair + rng.gauss(0, 0.005), 4)
    name = f"defense-{defense:02}" if defense else "none"
    train = 200.0 + 10 * victim + rng.random()
    purify = 0.0 if not defense else 10 ** (3 * repair)
    rates = [1 - math.exp(-epoch / 12) for epoch in range(1, EPOCHS + 1)]
    return CellResult(
        key=f"{rng.getrandbits(80):020x}",
        status="done",
        preset="paper",
        dataset=DATASET,
        attack=_component(f"attack-{attack:02}" if attack else "none", {"budget": "linf:8/255"}),
        defense=_component(name, {"sees_test_images": False, "trains_differently": False}),
        victim=_component(f"victim-{victim:02}", {"recipe": {"epochs": EPOCHS, "lr": 0.1}}),
        seed=seed,
        clean_test_accuracy=accuracy,
        test_images=10_000,
        curve=[
            {"epoch": i, "train_loss": 2 - rate, "train_accuracy": rate, "clean_test_accuracy": accuracy * rate}
            for i, rate in enumerate(rates, start=1)
        ],
        costs={"poison": _cost(9.0), "purify": _cost(purify), "train": _cost(train)},
        scores={"poison_psnr_db": 30 + rng.random(), "purified_psnr_db": 25 + rng.random()},
        artifacts={stage: f"{rng.getrandbits(256):064x}" for stage in ("poison", "purify", "train")},
        provenance={"torch": "2.11.0", "threads": 8, "command": "bench run"},
    )


def _component(name: str, extra: dict[str, object]) -> Component:
    return Component(name, name, {"alpha": 1, "beta": 0.5, "gamma": True}, "arXiv:0000.00000", extra=extra)


def _cost(seconds: float) -> Cost:
    phases = {"train": seconds, "evaluate": 1.0}
    return Cost(phases, seconds, 2**31, 2**32, 300 * seconds, "Test GPU", True, "2026-01-02T03:04:05+00:00")


def write_store(root: Path, cells: list[CellResult]) -> None:
    """Cells without `fsync`: a store for trying things, not for keeping."""
    (root / "cells").mkdir(parents=True)
    (root / "store.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}))
    for cell in cells:
        (root / "cells" / f"{cell.key}.json").write_text(json.dumps(asdict(cell), sort_keys=True))


if __name__ == "__main__":
    made = synthetic_cells(int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
    write_store(Path(sys.argv[1]), made)
    print(f"{len(made)} cells in {sys.argv[1]}")
