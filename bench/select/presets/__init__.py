"""The presets that ship with the package, one TOML file each. Nothing here imports torch: the leaderboard asks too.

Besides what a settings file may say (`bench.select.settings`), a preset says `validated = false` as long as nobody has
compared its accuracies with those of `paper`: `bench list presets` and the board mark it.
"""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All of them, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> dict[str, Any]:
    """The settings of a preset, and `validated`."""
    with (FOLDER / f"{name}.toml").open("rb") as file:
        return {"validated": True, **tomllib.load(file)}


def summary(name: str) -> str:
    """The comment that opens its file."""
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


@functools.cache
def unvalidated() -> frozenset[str]:
    """The presets whose results are no substitute for those of `paper` yet."""
    return frozenset(name for name in names() if not read(name)["validated"])
