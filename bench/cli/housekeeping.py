"""`bench cache`: what the store holds, whether it is sound, and the collection of garbage."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import formats
from bench.errors import UserError
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.results import read_cell


def open_store(root: Path) -> Store:
    """The store in this folder.

    Raises:
        UserError: if there is none.
    """
    if not (root / "store.json").is_file():
        raise UserError(f"{root} is not a store; `bench run --store {root}` makes one")
    return Store(root)


def list_artifacts(root: Path) -> None:
    """Prints every artifact with its component, size, cost and day, in a table for each device."""
    store, console = open_store(root), Console(highlight=False, markup=False)
    tables: dict[str, Table] = {}
    damaged = []
    total = 0
    for stage, key in store.artifacts():
        try:
            manifest = store.manifest(stage, key)
        except DamagedArtifactError as error:
            damaged.append(f"damaged: {stage} {key[:12]}: {error}")
            continue
        total += manifest.data_bytes
        component = manifest.preimage["component"]["name"]
        size = f"= {manifest.alias_of}" if manifest.alias_of else formats.size(manifest.data_bytes)
        cost = manifest.cost
        table = tables.setdefault(cost.device, _artifact_table())
        table.add_row(stage, key[:12], component, size, formats.seconds(cost.wall_seconds), cost.created[:10])
    for device, table in tables.items():
        console.print(f"measured on {formats.device(device)}", soft_wrap=True)
        console.print(table)
    for text in damaged:
        console.print(text, style="red", soft_wrap=True)
    count = len(damaged) + sum(table.row_count for table in tables.values())
    console.print(f"{formats.counted(count, 'artifact')}, {formats.size(total)} in {root}", soft_wrap=True)


def _artifact_table() -> Table:
    """Without rows; on a narrow terminal the name of the component is cut, and nothing is broken."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("stage", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("component", overflow="ellipsis")
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("measured", no_wrap=True)
    return table


def verify_artifacts(root: Path) -> int:
    """Checks all checksums and cells, prints what is damaged; returns 0 if all is well, else 1."""
    store = open_store(root)
    console = Console(highlight=False)
    damaged = [(stage, key) for stage, key in store.artifacts() if store.state(stage, key) == "damaged"]
    for stage, key in damaged:
        console.print(f"damaged: {store.folder(stage, key)}; the next run that needs it makes it again", soft_wrap=True)
    unreadable = 0
    for path in sorted(store.cells.glob("*.json")):
        try:
            read_cell(path)
        except UserError as error:
            unreadable += 1
            console.print(str(error), soft_wrap=True)
    count = sum(1 for _ in store.artifacts())
    found = f"{formats.counted(count, 'artifact')}, {len(damaged)} damaged"
    console.print(f"{found}; {formats.counted(unreadable, 'unreadable cell')}")
    return 1 if damaged or unreadable else 0


def collect_garbage(root: Path, dry_run: bool, unfinished: bool = False) -> None:
    """Deletes artifacts that nobody wants, damaged ones, and the leftovers of interrupted runs.

    Args:
        root: of the store.
        dry_run: only say what would be deleted.
        unfinished: also delete artifacts needed only to resume interrupted runs, and forget these runs.

    Raises:
        UserError: if a run is active.
    """
    store = open_store(root)
    with nullcontext() if dry_run else store.alone():
        _collect(store, dry_run, unfinished)


def _collect(store: Store, dry_run: bool, unfinished: bool) -> None:
    console = Console(highlight=False)
    used = {item for path in store.cells.glob("*.json") for item in read_cell(path).artifacts.items()}
    plans = store.planned()
    wanted = set().union(*plans.values()) - used
    freed, kept = 0, 0
    for stage, key in list(store.artifacts()):
        keep = (stage, key) in used or ((stage, key) in wanted and not unfinished)
        if keep and store.state(stage, key) == "valid":
            kept += (stage, key) in wanted
            continue
        folder = store.folder(stage, key)
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        console.print(f"{'would delete' if dry_run else 'deleted'} {stage} {key[:12]}")
        if not dry_run:
            store.remove(stage, key)
    shown = {store.log(stage, key) for stage, key in used} | _logs_of_failures(store)
    for path in sorted(store.root.glob("logs/*.txt")):
        if path not in shown:
            freed += path.stat().st_size
            if not dry_run:
                path.unlink()
    if kept:
        console.print(
            f"kept {formats.counted(kept, 'artifact')} needed to resume "
            f"{formats.counted(len(plans), 'interrupted run')}; --unfinished deletes them"
        )
    if not dry_run:
        freed += store.clean_partial()
        for path in plans if unfinished else ():
            path.unlink()
    console.print(f"{formats.size(freed)} {'would be ' if dry_run else ''}freed")


def _logs_of_failures(store: Store) -> set[Path]:
    errors = [read_cell(path).error or {} for path in store.cells.glob("*.json")]
    return {store.log(error["stage"], error["key"]) for error in errors if "key" in error}
