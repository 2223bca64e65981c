"""The two tables: one row per cell, and one row per defense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.tables.adaptive import best_known, in_order, is_adaptive
from leaderboard.tables.baselines import with_baselines
from leaderboard.tables.cell_rows import cell_row
from leaderboard.tables.columns import (
    BOARD_COLUMNS,
    CELL_COLUMNS,
    COORDINATES,
    GROUP,
    Column,
    accuracy_column,
    half_width_column,
    typed,
)
from leaderboard.tables.costs import Spread, row_costs
from leaderboard.tables.counted import left_out, with_counted
from leaderboard.tables.effect import with_effect_flags
from leaderboard.tables.families import best_per_attack, families, family_row, held_out, same_attack, tuning_seconds
from leaderboard.tables.flags import Flag, Raised, has, never_ranked
from leaderboard.tables.ranking import accuracy_ranks, cost_ranks
from leaderboard.tables.row_flags import add_group_flags, row_flags
from leaderboard.tables.statistics import binomial_half_width_95, half_width_95, mean, tie_width
from leaderboard.tables.stores import repeat_flags
from leaderboard.tables.targets import row_targets

_DOUBT = {
    Flag.NOT_EXCLUSIVE,
    Flag.EXCLUSIVITY_UNKNOWN,
    Flag.SEVERAL_DEVICES,
    Flag.UNEVEN,
    Flag.PAYS_ONCE,
    Flag.MICRO_BATCHES,
}
_PEAKS = ("peak_gpu_bytes", "peak_host_bytes")


@dataclass(frozen=True)
class Frames:
    """Both tables of the same results, built once: `cells_frame` and `leaderboard_frame`."""

    cells: pd.DataFrame
    board: pd.DataFrame


def frames_of(results: Sequence[CellResult], repeated: Sequence[CellResult] = ()) -> Frames:
    """Builds both tables; the arguments are those of `cells_frame`.

    Raises:
        UserError: if there is no result, or two finished cells stand for the same coordinates.
    """
    if not results:
        raise UserError("nothing to publish: no cells found; run the matrix first, or name the --store it was run with")
    cells = cells_frame(results, repeated)
    return Frames(cells, leaderboard_frame(cells))


def cells_frame(cells: Iterable[CellResult], repeated: Sequence[CellResult] = ()) -> pd.DataFrame:
    """One row per cell, whatever its status; columns as in `CELL_COLUMNS`, then scores and provenance.

    Args:
        cells: at most one a key.
        repeated: cells that another store holds with another result: the first is flagged, and the undefended
            trainings among them are what a cost measured on their device is compared with.

    Raises:
        UserError: if two finished cells stand for the same coordinates.
    """
    cells = list(cells)
    flags = repeat_flags(cells, repeated)
    rows = [cell_row(cell, [flags[cell.key]] if cell.key in flags else []) for cell in cells]
    found = {name for row in rows for name in row} - set(CELL_COLUMNS)
    scores = {name: Column("float64", "a score of the harness") for name in sorted(found) if name.startswith("score_")}
    provenance = {name: Column("string", "provenance") for name in sorted(found - set(scores))}
    elsewhere = typed((cell_row(cell) for cell in repeated), CELL_COLUMNS)
    frame = with_baselines(typed(rows, CELL_COLUMNS | scores | provenance), elsewhere)
    frame = with_effect_flags(frame, {cell.key: cell.dataset["num_classes"] for cell in cells})
    frame = with_counted(frame)
    return frame.sort_values([*COORDINATES, "key"], ignore_index=True)[[*CELL_COLUMNS, *scores, *provenance]]


def current_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """At most one cell for the same coordinates: a finished one supersedes attempts that failed or were skipped."""
    done_first = frame.assign(_late=frame["status"] != "done").sort_values(["_late", "key"], kind="stable")
    return done_first.drop_duplicates(COORDINATES).drop(columns="_late").sort_index()


def leaderboard_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each defense and group (`GROUP`); columns as in `BOARD_COLUMNS`, then two an attack.

    Expected are all attacks and all seeds that appear anywhere in a row's group. A row that lacks one of those cells
    has no mean, no worst attack, no recovery, no cost and no rank. Poisons that did not take are in their own columns
    and in `not_counted` alone, if another attack counts. Adaptive attacks are in the columns `best_known_*` and their
    own alone; points of a curve over an attack's parameter are in none. Undefended rows, families' best per
    attack, provisional rows and defenses that were given test images or clean originals are listed without ranks.
    Single defenses come first, then those of `NEVER_RANKED`, undefended and incomplete ones.

    Args:
        frame: from `cells_frame`.
    """
    frame = current_cells(frame)
    rows = [row for _, group in frame.groupby(GROUP, sort=True) for row in _group_rows(group)]
    shown = frame["counted"].astype(bool) | is_adaptive(frame["attack"])
    beside = {attack for row in rows for attack in row["not_counted"]}
    attacks = in_order({*frame.loc[shown, "attack_selection"], *beside} - {"none"})
    accuracies = {accuracy_column(name): Column("float64", "mean over seeds", "fraction") for name in attacks}
    widths = {half_width_column(name): Column("float64", "interval of that mean", "fraction") for name in attacks}
    return typed(rows, BOARD_COLUMNS | accuracies | widths)


def _group_rows(group: pd.DataFrame) -> list[dict[str, Any]]:
    seeds, by_defense = sorted(group["seed"].unique()), group.groupby("defense_selection", sort=True)
    beside = group[left_out(group)]
    not_counted = tuple(sorted(beside["attack_selection"].unique()))
    group = group[group["counted"].astype(bool)]
    attacks = sorted(group["attack_selection"].unique())
    singles = []
    for _, cells in by_defense:
        counted = cells[cells["counted"].astype(bool)]
        row = _row(cells if counted.empty else counted, attacks, seeds)
        row |= best_known(row, cells[is_adaptive(cells["attack"])], seeds)
        singles.append(row | _beside(row, beside[beside["defense_selection"] == row["defense_selection"]], seeds))
    add_group_flags(singles)
    _rank(singles)
    oracles = []
    for name, cells in group.groupby(families(group), sort=True):
        members = [row for row in singles if row["defense_selection"] in set(cells["defense_selection"])]
        if name and len(members) >= 2 and all(row["mean_accuracy"] is not None for row in members):
            chosen = _row(best_per_attack(cells), attacks, seeds)
            tuning = {"tuning_seconds": tuning_seconds(cells[cells["status"] == "done"])}
            oracles.append(family_row(str(name), chosen, members, not_counted) | held_out(cells) | tuning)
    for row in (*singles, *oracles):
        row.update(_per_point(row), not_counted=not_counted)
    return sorted([*singles, *oracles], key=_sort_key)


def _row(cells: pd.DataFrame, attacks: list[str], seeds: list[int]) -> dict[str, Any]:
    """The row of one defense, not yet ranked.

    `tie_width`, no column of the board, is what ranks must differ by: the interval over seeds, and at least the doubt
    that a test set of this size leaves. Nor are `defense_parameters`, `recovered` and `per_seed`, the mean of each seed
    with that doubt.
    """
    done = cells[cells["status"] == "done"]
    table = done.pivot(index="seed", columns="attack_selection", values="clean_test_accuracy")
    table = table.reindex(index=seeds, columns=attacks)
    by_attack = {attack: mean(table[attack]) for attack in attacks}
    poisons = [attack for attack in attacks if attack != "none"]
    poisoned = done[done["attack_selection"] != "none"]
    taken = poisoned[[Flag.NOT_TAKEN not in flags for flags in poisoned["flags"]]]
    missing = int(table.isna().to_numpy().sum())

    named = ("victim", "defense", "defense_selection", "defense_parameters")
    row: dict[str, Any] = {name: cells[name].iloc[0] for name in (*GROUP, *named)}
    row |= {"family": cells["family"].iloc[0], "uses": cells["uses"].iloc[0], "rank": None, "cost_rank": None}
    row |= {"mean_accuracy": None, "n": len(poisoned), "seeds": len(seeds), "missing": missing}
    row |= {"clean_accuracy": by_attack.get("none"), "device": _devices(done)}
    row |= _accuracies(table[poisons])
    row["flags"] = row_flags(cells, table)
    if missing or not poisons:
        return row
    images = int(done["test_images"].min())
    means = [mean(values) or 0.0 for _, values in table[poisons].iterrows()]
    width = half_width_95(means)
    peaks = done.pivot(index="seed", columns="attack_selection", values="peak_accuracy").reindex(columns=poisons)
    worst = min(poisons, key=lambda attack: by_attack[attack] or 0.0)
    return row | {
        "mean_accuracy": mean(means),
        "per_seed": [(value, binomial_half_width_95(value, images)) for value in means],
        "peak_accuracy": mean(peaks.to_numpy().ravel()),
        "mean_without_one": _without_one(by_attack, same_attack(poisoned)),
        "recovery": _recovery(taken),
        "recovered": _recovered(taken),
        "attacks_that_took": taken["attack_selection"].nunique(),
        "half_width_95": width,
        "tie_width": tie_width(mean(means) or 0.0, width, images),
        "worst_accuracy": by_attack[worst],
        "worst_attack": worst,
        **row_costs(done, exclusive=not has(Flag.NOT_EXCLUSIVE, row["flags"])),
        **row_targets(taken),
        **{name: None if done[name].isna().any() else int(done[name].max()) for name in _PEAKS},
    }


def _accuracies(table: pd.DataFrame) -> dict[str, float | None]:
    """The two columns of each attack, from accuracies with a line a seed."""
    means = {accuracy_column(str(attack)): mean(table[attack]) for attack in table}
    return means | {half_width_column(str(attack)): half_width_95(table[attack]) for attack in table}


def _beside(row: Mapping[str, Any], cells: pd.DataFrame, seeds: list[int]) -> dict[str, Any]:
    """Accuracies of a row against poisons that did not take, and its flags with theirs."""
    done = cells[cells["status"] == "done"]
    if done.empty:
        return {}
    table = done.pivot(index="seed", columns="attack_selection", values="clean_test_accuracy").reindex(index=seeds)
    return _accuracies(table) | {"flags": (*row["flags"], Raised(Flag.NOT_TAKEN, tuple(map(str, table))))}


def _without_one(by_attack: Mapping[str, float | None], alike: Sequence[Sequence[str]]) -> float | None:
    """The lowest mean over all attacks but one, which is left out with all its settings."""
    attacks = {attack for settings in alike for attack in settings}
    if len(alike) < 2:
        return None
    return min(mean(by_attack[attack] for attack in attacks - set(settings)) or 0.0 for settings in alike)


def _recovery(taken: pd.DataFrame) -> float | None:
    """Ratio of means, so that a poison with little effect does not blow it up; None if no poison took."""
    columns = ("clean_test_accuracy", "undefended_accuracy", "clean_baseline_accuracy")
    defended, undefended, clean = (mean(taken[name]) for name in columns)
    if defended is None or undefended is None or clean is None or clean <= undefended:
        return None
    return (defended - undefended) / (clean - undefended)


def _recovered(taken: pd.DataFrame) -> float | None:
    """Mean accuracy above the undefended one of the same cells."""
    defended, undefended = (mean(taken[name]) for name in ("clean_test_accuracy", "undefended_accuracy"))
    return None if defended is None or undefended is None else defended - undefended


def _per_point(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Cost by recovered points; None if nothing was recovered, or the defended training is shorter."""
    points = 100 * (row.get("recovered") or 0.0)
    costs = {"seconds_per_point": row.get("cost_seconds"), "joules_per_point": row.get("cost_energy_joules")}
    return {n: cost / points if cost is not None and cost >= 0 and points > 0 else None for n, cost in costs.items()}


def _devices(cells: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted({device for devices in cells["device"] for device in devices}))


def _doubtful(row: Mapping[str, Any]) -> bool:
    return any(has(flag, row["flags"]) for flag in _DOUBT)


def _rank(rows: list[dict[str, Any]]) -> None:
    """Sets the ranks of complete, defended rows, of provisional ones by cost alone, of those in `NEVER_RANKED` none.

    Costs are ranked only if they are exclusive and of the device of the undefended row.
    """
    complete = [row for row in rows if row["defense"] != "none" and row["mean_accuracy"] is not None]
    complete = [row for row in complete if not never_ranked(row["flags"])]
    ranked = [row for row in complete if not has(Flag.PROVISIONAL, row["flags"])]
    ranks = accuracy_ranks([row["mean_accuracy"] for row in ranked], [row["tie_width"] for row in ranked])
    for row, rank in zip(ranked, ranks, strict=True):
        row["rank"] = rank

    undefended_doubtful = any(_doubtful(row) for row in rows if row["defense"] == "none")
    costed = [row for row in complete if row["cost_seconds"] is not None and not _doubtful(row)]
    if not undefended_doubtful:
        names = ("cost_seconds", "cost_seconds_min", "cost_seconds_max")
        for row, rank in zip(
            costed, cost_ranks([Spread(*(row[name] for name in names)) for row in costed]), strict=True
        ):
            row["cost_rank"] = rank


def _sort_key(row: dict[str, Any]) -> tuple[int, float, str]:
    """Sort key of a row in its group: single defense, never ranked, undefended, incomplete; each by falling mean."""
    part = 0
    if row["mean_accuracy"] is None:
        part = 3
    elif row["defense"] == "none":
        part = 2
    elif never_ranked(row["flags"]):
        part = 1
    return part, -(row["mean_accuracy"] or 0.0), row["defense_selection"]
