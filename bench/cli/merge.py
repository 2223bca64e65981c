"""`bench merge` looks at what it would make: complete rows stay complete, and no run is there twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.formats import counted
from bench.portable.reading import Export
from bench.portable.repeats import repeats
from bench.store.results import CellResult, Manifest
from leaderboard.tables.columns import GROUP
from leaderboard.tables.table import current_cells, frames_of

if TYPE_CHECKING:
    import pandas as pd

_ROW = [*GROUP, "defense_selection"]


def refuse_copies(exports: Iterable[Export]) -> None:
    """A run of one folder may stand in another one under its own key alone.

    Raises:
        UserError: if it has another key there, such as that of another seed; it names the files.
    """
    together: dict[tuple[str, str], dict[str, Manifest]] = {}
    for export in exports:
        for artifact, manifests in export.manifests.items():
            named = {str(export.root / path): manifest for path, manifest in manifests.items()}
            together.setdefault(artifact, {}).update(named)
    if found := list(repeats(together)):
        raise UserError(
            f"{counted(len(found), 'artifact')} of these folders cannot be results of runs of their own, for example\n"
            f"  {found[0]}\nAsk who made the folder. Nothing was written"
        )


def refuse_incomplete(first: Export, merged: Iterable[CellResult]) -> None:
    """A row is compared over all attacks and seeds of its group, so one new seed takes mean and rank from all others.

    Args:
        first: the folder whose rows are to stay.
        merged: all cells of the result.

    Raises:
        UserError: if a row that is complete in the first folder would lack cells; it names rows and cells.
    """
    before, after = frames_of(list(first.cells.values())).board, frames_of(list(merged))
    complete = before[before["mean_accuracy"].notna()].set_index(_ROW).index
    rows = after.board[after.board["mean_accuracy"].isna()]
    rows = rows[rows.set_index(_ROW).index.isin(complete)]
    if rows.empty:
        return
    cells, lacking = current_cells(after.cells), dict[str, list[str]]()
    for place, of_place in rows.groupby(GROUP, sort=True):
        group = cells[(cells[GROUP] == place).all(axis=1)]
        for defense in of_place["defense_selection"]:
            text = "; ".join(_missing(group, defense))
            lacking.setdefault(text, []).append(f"{defense} / {of_place['victim_selection'].iloc[0]}")
    told = "\n".join(f"  {', '.join(names)}: {text}" for text, names in lacking.items())
    raise UserError(
        f"{counted(len(rows), 'row')} of {first.root} would have no mean and no rank: not all attacks and seeds of the "
        f"result are in these rows. They lack:\n{told}\n"
        "Compute these cells and merge their folder too, or leave out the folder that has the new attacks or seeds. "
        "--extend merges all the same. Nothing was written"
    )


def _missing(group: pd.DataFrame, defense: str) -> Iterator[str]:
    """The cells that a row of this group lacks, as `seed 1: none, lsp`."""
    done = group[(group["defense_selection"] == defense) & (group["status"] == "done")]
    attacks = group.loc[group["counted"].astype(bool), "attack_selection"].unique()
    wanted = {(seed, attack) for seed in group["seed"] for attack in attacks}
    missing = sorted(wanted - set(zip(done["seed"], done["attack_selection"], strict=True)))
    for seed, pairs in groupby(missing, key=lambda pair: pair[0]):
        yield f"seed {seed}: {', '.join(attack for _, attack in pairs)}"
