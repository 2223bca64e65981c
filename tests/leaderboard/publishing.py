"""Publishing in one step, as the commands do it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.store.results import CellResult
from leaderboard import publish as publishing
from leaderboard.tables.table import frames_of


def publish(
    results: Sequence[CellResult], out: Path, *rest: Any, repeated: Sequence[CellResult] = (), **named: Any
) -> dict[str, Path]:
    """Builds the frames and publishes them."""
    return publishing.publish(results, frames_of(results, repeated), out, *rest, repeated=repeated, **named)
