"""Cells of several stores as one set: what to keep where two stores hold the same cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import formats
from bench.errors import UserError
from bench.store.atomic_folder import INDEX
from bench.store.results import CellResult, Manifest, artifact_path, of_json, read_cell
from leaderboard.tables.columns import AND
from leaderboard.tables.flags import Flag


@dataclass(frozen=True)
class Stored:
    """Cells ordered by key, and the cells behind them: the same cell of another store, with another result."""

    cells: list[CellResult]
    repeated: list[CellResult]


def read_stores(stores: Iterable[Path], first_wins: bool = False) -> Stored:
    """All cells of these stores; a finished one before a failed one, then the first store's.

    Args:
        stores: folders that `bench run --store` made.
        first_wins: whether the first store's accuracy counts where two stores disagree, instead of none.

    Raises:
        UserError: if one is no store, a cell cannot be read, or two stores give the same cell different accuracies.
    """
    chosen: dict[str, tuple[Path, CellResult]] = {}
    repeated, disagreeing = [], []
    for store in stores:
        folder = store / "cells"
        if not folder.is_dir():
            raise UserError(f"{store} is not a store (no folder {folder}); `bench run --store {store}` makes one")
        for path in sorted(folder.glob("*.json")):
            cell = read_cell(path)
            repeated += _undefended_elsewhere(store, cell)
            other_path, other = chosen.setdefault(cell.key, (path, cell))
            if cell.status == other.status == "done":
                if cell.clean_test_accuracy != other.clean_test_accuracy:
                    disagreeing.append((other_path, other, path, cell))
                if (cell.clean_test_accuracy, cell.costs) != (other.clean_test_accuracy, other.costs):
                    repeated.append(cell)
            elif cell.status == "done":
                chosen[cell.key] = (path, cell)
    if disagreeing and not first_wins:
        raise UserError(_described_disagreements(disagreeing))
    return Stored([chosen[key][1] for key in sorted(chosen)], sorted(repeated, key=lambda cell: cell.key))


def _undefended_elsewhere(store: Path, cell: CellResult) -> Iterator[CellResult]:
    """An undefended cell as other machines measured it, where a merged folder keeps their manifests (`bench merge`)."""
    if cell.defense.name != "none" or cell.status != "done" or not (store / INDEX).is_file():
        return
    own = {cost.device for cost in cell.costs.values()}
    found: dict[str, dict[str, Manifest]] = {}
    for stage, key in cell.artifacts.items():
        for path in sorted((store / artifact_path(stage, key)).glob("manifest*.json")):
            try:
                manifest: Manifest = of_json(Manifest, path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{path}: not a readable manifest ({error}); check the folder: bench verify {store}"
                ) from error
            found.setdefault(manifest.cost.device, {}).setdefault(stage, manifest)
    for device, manifests in sorted(found.items()):
        if device not in own and "train" in manifests:
            accuracy = manifests["train"].payload.get("clean_test_accuracy")
            costs = {stage: manifest.cost for stage, manifest in manifests.items()}
            yield replace(cell, clean_test_accuracy=accuracy, costs=costs)


def repeat_flags(cells: Iterable[CellResult], repeated: Sequence[CellResult]) -> dict[str, Flag]:
    """Flag by key of the cells that another store holds with another result."""
    shown = {cell.key: cell.clean_test_accuracy for cell in cells}
    flags: dict[str, Flag] = {}
    for again in repeated:
        if again.clean_test_accuracy != shown[again.key]:
            flags[again.key] = Flag.OTHER_ACCURACY
        flags.setdefault(again.key, Flag.OTHER_COSTS)
    return flags


def described_repeats(stored: Stored) -> list[str]:
    """For who merges: how many cells have another accuracy or other costs elsewhere, each with an example."""
    flags = repeat_flags(stored.cells, stored.repeated)
    shown = {cell.key: cell for cell in stored.cells}
    sentences = []
    for flag, result, text in (
        (Flag.OTHER_ACCURACY, "different accuracies", _accuracy),
        (Flag.OTHER_COSTS, "the same accuracy and other costs", _costs),
    ):
        pairs = [(shown[again.key], again) for again in stored.repeated if flags[again.key] == flag]
        if not pairs:
            continue
        one, other = max(pairs, key=lambda pair: text(pair[0]) != text(pair[1]))
        count = len({cell.key for cell, _ in pairs})
        sentences.append(
            f"{count} cell{'s are' if count > 1 else ' is'} in several stores with {result}; the board takes those of "
            f"the first --store. For example {one.defense.text} against {one.attack.text}, seed {one.seed}: "
            f"{text(one)} is shown, {text(other)} is not"
        )
    return sentences


def _costs(cell: CellResult) -> str:
    charged = [cost for stage, cost in cell.costs.items() if stage != "poison"]
    seconds = formats.seconds(sum(cost.wall_seconds for cost in charged))
    return f"{seconds} on {AND.join(sorted({cost.device for cost in charged}))}"


def _accuracy(cell: CellResult) -> str:
    return f"{cell.clean_test_accuracy}"


def _described_disagreements(found: Sequence[tuple[Path, CellResult, Path, CellResult]]) -> str:
    one_path, one, other_path, other = found[0]
    more = f"; {len(found)} cells disagree in all" if len(found) > 1 else ""
    return (
        f"{one_path} and {other_path} are the same cell, but their accuracies differ ({_accuracy(one)} and "
        f"{_accuracy(other)}){more}. Machines round differently: --first-wins takes the first --store's and flags "
        "these cells; or publish only one of the stores"
    )
