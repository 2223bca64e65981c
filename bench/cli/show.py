"""`bench show CELL`: one cell on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import formats
from bench.cli.housekeeping import open_store
from bench.errors import UserError
from bench.store.artifacts import Store
from bench.store.results import CellResult, Component, read_cell
from bench.store.scores import SCORES, Score

_PRINTED_LINES = 20


def show_cell(prefix: str, root: Path) -> CellResult:
    """Prints settings, accuracy, costs, scores and curve of a cell, and returns it.

    Raises:
        UserError: if there is no store, or no cell, or several, begin with `prefix`.
    """
    store = open_store(root)
    found = sorted(path for path in store.cells.glob("*.json") if path.name.startswith(prefix))
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
        percent = formats.percent(cell.clean_test_accuracy)
        console.print(f"[bold]{percent} %[/bold] clean test accuracy (last epoch, n = {n}, seed {cell.seed})")
    if cell.error:
        where = f"{cell.error['kind']} in {cell.error['stage']}: " if "kind" in cell.error else ""
        console.print(f"{where}{cell.error['message']}", style="red", markup=False)
        console.print(cell.error.get("traceback", ""), markup=False)
    _printed(console, cell, store)
    _costs(console, cell)
    _scores(console, cell)
    for stage, logs in cell.logs.items():
        _facts(console, f"{stage} log", logs)
    _curve(console, cell)
    for stage, key in cell.artifacts.items():
        console.print(f"{stage} artifact: {store.folder(stage, key)}", soft_wrap=True)
    _facts(console, "provenance", cell.provenance)
    return cell


def _printed(console: Console, cell: CellResult, store: Store) -> None:
    """The end of every stage's log file: what a plug-in printed or warned of."""
    keys = dict(cell.artifacts)
    if cell.error and "key" in cell.error:
        keys[cell.error["stage"]] = cell.error["key"]
    for stage, key in keys.items():
        path = store.log(stage, key)
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            console.print(f"{stage} printed {formats.counted(len(lines), 'line')}: {path}", soft_wrap=True)
            console.print("\n".join(lines[-_PRINTED_LINES:]), markup=False, style="dim", soft_wrap=True)


def _settings(console: Console, cell: CellResult) -> None:
    table = _table("what", "selection", "all parameters")
    table.add_row("data set", str(cell.dataset["spec"]), _words(cell.dataset))
    components: dict[str, Component] = {"attack": cell.attack, "defense": cell.defense, "victim": cell.victim}
    for kind, component in components.items():
        paper = {"paper": component.source} if component.source else {}
        table.add_row(kind, component.text, _words({**component.parameters, **component.extra, **paper}))
    console.print(table)


def _costs(console: Console, cell: CellResult) -> None:
    table = _table("stage", "phase", "time", "peak GPU", "peak host", "energy", right=range(2, 6))
    for stage, cost in cell.costs.items():
        memory = (formats.size(cost.peak_gpu_bytes), formats.size(cost.peak_host_bytes))
        runs = f", {formats.runs(cost.repeats, cost.pays_once)}" if cost.repeats else ""
        table.add_row(
            stage, f"whole{runs}", formats.seconds(cost.wall_seconds), *memory, formats.joules(cost.energy_joules)
        )
        for name, seconds in cost.phases.items():
            what = "warm (not charged)" if name == "warm" else name
            energy = formats.joules(cost.phase_joules[name]) if name in cost.phase_joules else ""
            table.add_row("", what, formats.seconds(seconds), "", "", energy)
    if cell.costs:
        console.print(table)
    for stage, cost in cell.costs.items():
        alone = {True: "exclusive", False: "not exclusive", None: "exclusivity unknown"}[cost.exclusive]
        console.print(
            f"{stage} measured {cost.created} on {formats.device(cost.device)}, {alone}", markup=False, style="dim"
        )


def _scores(console: Console, cell: CellResult) -> None:
    scores = {name: value for name, value in cell.scores.items() if value is not None}
    if not scores:
        return
    table = _table("score", "value", "unit", "meaning", right=[1])
    for name, value in sorted(scores.items(), key=lambda score: [*SCORES, score[0]].index(score[0])):
        score = SCORES.get(name, Score(name, "", ""))
        table.add_row(score.label, _number(value), score.unit, score.explanation)
    console.print(table)


def _curve(console: Console, cell: CellResult) -> None:
    """By epoch; a star marks the highest clean test accuracy, so that a collapse afterwards is seen."""
    if not cell.curve:
        return
    names = ("epoch", "train_loss", "train_accuracy", "clean_test_accuracy")
    table = _table("epoch", "train loss", "train %", "clean test %", right=range(4))
    best = max(point["clean_test_accuracy"] or 0.0 for point in cell.curve)
    for epoch, loss, train, test in ((point[name] for name in names) for point in cell.curve):
        star = "*" if test == best else ""
        table.add_row(_number(epoch), _number(loss), formats.percent(train), star + formats.percent(test))
    console.print(table)


def _table(*headings: str, right: Collection[int] = ()) -> Table:
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number in right else "left", overflow="fold")
    return table


def _facts(console: Console, title: str, facts: dict[str, Any]) -> None:
    if facts:
        console.print(f"{title}: {_words(facts)}", markup=False, soft_wrap=True)


def _words(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_number(value)}" for name, value in _flat(facts))


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "-"
