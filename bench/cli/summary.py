"""The end of `bench run`: the work that was done, the cells without a result, the files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from bench.errors import in_one_line
from bench.run.runner import Outcome
from bench.store.results import CellResult


def print_outcome(outcome: Outcome, paths: Iterable[Path], console: Console) -> None:
    """Prints counts of jobs, skipped and failed cells with their reasons, and the files that were written."""
    for repaired in outcome.repaired:
        console.print(f"damaged artifact computed again: {repaired}", style="yellow", markup=False)
    computed, reused = (", ".join(f"{n} {s}" for s, n in c.items() if n) for c in (outcome.computed, outcome.reused))
    console.print(f"computed now: {computed or 'nothing'}; from the store: {reused or 'nothing'}", highlight=False)
    if reused:
        console.print("(what comes from the store keeps the seconds of its original computation)", style="dim")
    for cell in outcome.skipped:
        message = f"skipped: {_names(cell)}: {(cell.error or {}).get('message')}"
        console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for cell in outcome.failed:
        error = cell.error or {}
        said = in_one_line(str(error.get("message")))
        message = f"failed: {_names(cell)}: {error.get('kind')} in {error.get('stage')}: {said}"
        console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    if outcome.failed:
        console.print("run the same command again to try the failed cells once more; `bench show CELL` has details")
    for path in paths:
        console.print(f"{path.name}: {path}", highlight=False, markup=False, soft_wrap=True)


def _names(cell: CellResult) -> str:
    return f"{cell.attack.text} / {cell.defense.text} / {cell.victim.text}, seed {cell.seed}"
