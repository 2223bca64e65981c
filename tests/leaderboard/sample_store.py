"""Artifacts with sample images, as the stages store them, made without torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bench.store.results import CellResult, Cost, Manifest

COUNT = 12
_COST = Cost({}, 1.0, None, None, None, "Test GPU", True, "2026-01-02T03:04:05+00:00")


def clean_images() -> NDArray[np.uint8]:
    """Smooth gradients, uint8 (COUNT, 3, 32, 32)."""
    y, x = np.mgrid[0:32, 0:32] / 31
    planes = [[0.5 + 0.4 * np.sin(i + c + 3 * x + (i % 3) * y) for c in range(3)] for i in range(COUNT)]
    return np.round(255 * np.asarray(planes)).astype(np.uint8)


def write_samples(root: Path, cell: CellResult) -> None:
    """Writes the poison and purify artifacts that a cell names, with samples that depend on its names."""
    clean = clean_images()
    poisoned = clean if cell.attack.name == "none" else _shifted(clean, 8, cell.attack.text)
    purified = poisoned if cell.defense.name == "none" else _shifted(poisoned, 3, cell.defense.text)
    for stage, result in (("poison", poisoned), ("purify", purified)):
        key = cell.artifacts[stage]
        folder = root / "artifacts" / stage / key[:2] / key
        if folder.is_dir():
            continue
        folder.mkdir(parents=True)
        rows = np.arange(COUNT, dtype=np.int32)
        save_file({"sample_rows": rows, "sample_clean": clean, "sample_result": result}, folder / "data.safetensors")
        manifest = Manifest(key, stage, {}, "c" * 64, 4711, "", _COST, {}, {})
        (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))


def _shifted(images: NDArray[np.uint8], most: int, name: str) -> NDArray[np.uint8]:
    rng = np.random.default_rng(list(name.encode()))
    return np.clip(images.astype(np.int64) + rng.integers(-most, most + 1, images.shape), 0, 255).astype(np.uint8)
