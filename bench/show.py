"""`bench show CELL`: one cell on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.errors import UserError
from bench.housekeeping import open_store
from bench.progress import duration
from bench.results import SCORES, CellResult, Component, read_cell


def show_cell(prefix: str, root: Path) -> CellResult:
    """Prints settings, accuracy, costs, scores and curve of a cell, and returns it.

    Raises:
        UserError: if there is no store, or no cell, or several, begin with `prefix`.
    """
    store = open_store(root)
    found = sorted(store.cells.glob(f"{prefix}*.json"))
    if len(found) != 1:
        keys = ", ".join(path.stem for path in found[:5])
        problem = f"{len(found)} cells begin with {prefix!r}: {keys}" if found else f"no cell begins with {prefix!r}"
        raise UserError(f"{problem}; cells.csv lists the keys of {store.cells}")
    cell = read_cell(found[0])
    console = Console(highlight=False)
    console.print(f"[bold]{cell.key}[/bold]  {cell.status}")
    _settings(console, cell)
    if cell.clean_test_accuracy is not None:
        n = cell.test_images
        console.print(f"clean test accuracy {cell.clean_test_accuracy:.4f} (last epoch, n = {n}, seed {cell.seed})")
    if cell.error:
        console.print(f"{cell.error['kind']} in {cell.error['stage']}: {cell.error['message']}", style="red")
        console.print(cell.error.get("traceback", ""), markup=False)
    _costs(console, cell)
    _scores(console, cell)
    for stage, logs in cell.logs.items():
        _facts(console, f"{stage} log", logs)
    _curve(console, cell)
    for stage, key in cell.artifacts.items():
        console.print(f"{stage} artifact: {store.folder(stage, key)}", soft_wrap=True)
    _facts(console, "provenance", cell.provenance)
    return cell


def _settings(console: Console, cell: CellResult) -> None:
    table = Table("what", "selection", "all parameters", "paper")
    table.add_row("data set", str(cell.dataset["spec"]), _words(cell.dataset), "")
    components: dict[str, Component] = {"attack": cell.attack, "defense": cell.defense, "victim": cell.victim}
    for kind, component in components.items():
        facts = {**component.parameters, **component.extra}
        table.add_row(kind, component.text, _words(facts), component.source)
    console.print(table)


def _costs(console: Console, cell: CellResult) -> None:
    table = Table("stage", "seconds", "phases", "peak GPU", "peak host", "joules", "device", "exclusive", "measured")
    for stage, cost in cell.costs.items():
        table.add_row(
            stage,
            duration(cost.wall_seconds),
            ", ".join(f"{name} {duration(seconds)}" for name, seconds in cost.phases.items()),
            _mebibytes(cost.peak_gpu_bytes),
            _mebibytes(cost.peak_host_bytes),
            "-" if cost.energy_joules is None else f"{cost.energy_joules:.0f}",
            cost.device,
            {True: "yes", False: "no", None: "unknown"}[cost.exclusive],
            cost.created,
        )
    console.print(table)


def _scores(console: Console, cell: CellResult) -> None:
    if not cell.scores:
        return
    table = Table("score", "value", "meaning")
    for name, value in sorted(cell.scores.items(), key=lambda score: [*SCORES, score[0]].index(score[0])):
        table.add_row(name, "-" if value is None else _number(value), SCORES.get(name, ""))
    console.print(table)


def _curve(console: Console, cell: CellResult) -> None:
    if not cell.curve:
        return
    table = Table("epoch", "train loss", "train accuracy", "clean test accuracy")
    for point in cell.curve:
        table.add_row(*(_number(point[c]) for c in ("epoch", "train_loss", "train_accuracy", "clean_test_accuracy")))
    console.print(table)


def _facts(console: Console, title: str, facts: dict[str, Any]) -> None:
    if facts:
        console.print(f"{title}: {_words(facts)}", markup=False, soft_wrap=True)


def _words(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_number(value)}" for name, value in facts.items())


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "-"


def _mebibytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.0f} MiB"
