"""The end of `bench run`: the work that was done, the cells without a result, the files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from bench import formats
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
    for reason, names in _by_reason(outcome.skipped).items():
        console.print(f"skipped: {names}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for reason, names in _by_reason(outcome.failed).items():
        console.print(f"failed: {names}: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    if outcome.failed:
        console.print("run the same command again to try the failed cells once more; `bench show CELL` has details")
    for path in paths:
        console.print(f"{path.name}: {path}", highlight=False, markup=False, soft_wrap=True)


def _by_reason(cells: Iterable[CellResult]) -> dict[str, str]:
    """Reason to the cells that it stopped, in words: the first one by name, the others as a number."""
    by_reason: dict[str, list[CellResult]] = {}
    for cell in cells:
        error = cell.error or {}
        where = f"{error['kind']} in {error['stage']}: " if "kind" in error else ""
        by_reason.setdefault(where + in_one_line(str(error.get("message"))), []).append(cell)
    return {reason: _names(first, others) for reason, (first, *others) in by_reason.items()}


def _names(cell: CellResult, others: Sequence[CellResult]) -> str:
    more = f", and {formats.counted(len(others), 'more cell')}" if others else ""
    return f"{cell.attack.text} / {cell.defense.text} / {cell.victim.text}, seed {cell.seed}{more}"
