"""Versions and machine behind a result."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import Any

import torch

from bench.api.engine import Engine
from bench.measure.cost import device_name


def environment(device: str, engine: Engine | None = None) -> dict[str, Any]:
    """Versions, machine and engine, stored with every artifact."""
    engine = engine or Engine()
    return {
        "device": device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "engine": engine.mode,
        "deterministic": engine.deterministic,
        "precision": engine.precision,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cuda": torch.version.cuda if device.startswith("cuda") else None,
        **_versions(),
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("purify-bench", "torch", "torchvision", "timm", "numpy")}
