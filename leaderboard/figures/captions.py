"""Captions: what a figure shows, of how many seeds and images, on which device, and what makes its rows doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from bench import formats
from leaderboard.figures.heat_map import attacks_are_rows, has_numbers
from leaderboard.figures.style import cut
from leaderboard.site.scatter import CostAxis, on_several_devices
from leaderboard.tables.adaptive import names_adaptive
from leaderboard.tables.columns import AND
from leaderboard.tables.envelope import envelope_note
from leaderboard.tables.flags import Flag, has, shared_flags, shown_flags
from leaderboard.tables.groups import not_counted_note
from leaderboard.tables.shown import ADAPTIVE_NOTE


def scatter_caption(group: pd.DataFrame, cells: pd.DataFrame, cost: CostAxis, unnamed: Sequence[str]) -> str:
    """Of accuracy versus cost; `unnamed` are the points whose label found no room in one of the sizes."""
    drawn = group[(group["defense"] != "none") & group["mean_accuracy"].notna()]
    column = cost.column(group)
    several = on_several_devices(group)
    oracles = any(has(Flag.ORACLE, flags) for flags in drawn["flags"])
    return _text(
        f"Accuracy versus cost of {formats.counted(int(drawn[column].notna().sum()), 'defense')}. Up and to the left "
        "is better. "
        f"Vertical: clean test accuracy, mean over {_attacks(cells)} and all seeds. Horizontal: {cost.title}, on a "
        "logarithmic axis; a defense without extra cost stands at ≤ 0.",
        _intervals("mean_accuracy", drawn),
        "Stepped line: Pareto front.",
        "Each device has its symbol; the front leaves out costs of another device than the undefended training's."
        if several
        else "",
        "Dotted: clean training data without defense. Dashed: poisoned data without defense.",
        "Open diamonds: the best of several settings for each attack, chosen with test labels." if oracles else "",
        envelope_note(group),
        _listed("Cost not known, so not drawn", drawn.loc[drawn[column].isna(), "defense_selection"]),
        _listed("Points without room for a label", dict.fromkeys(unnamed)),
        _cut_names(drawn["defense_selection"]),
        _conditions(cells),
        _flags(group),
    )


def heat_caption(group: pd.DataFrame, cells: pd.DataFrame, columns: Sequence[str]) -> str:
    """Of the heat map with these columns."""
    return _text(
        "Clean test accuracy in percent of each defense (row) on clean training data and against each attack (column), "
        "mean over seeds. Where a decimal has no room, whole percents or colors alone stand. The same colors mean the "
        "same accuracy in every figure. Gray with a dash: no result for every seed.",
        "In the file for one column, attacks are the rows." if attacks_are_rows(group, "single") else "",
        "" if has_numbers(group, "single") else "The file for one column has no room for numbers: use the double one.",
        _adaptive(columns),
        not_counted_note(group),
        _cut_names([*group["defense_selection"], *columns]),
        _conditions(cells),
        _flags(group),
    )


def curve_caption(points: pd.DataFrame, cells: pd.DataFrame) -> str:
    """Of one figure of `curves_frame`."""
    first = points.iloc[0]
    defense = first["varied"] == "defense"
    return _text(
        f"Clean test accuracy over {first['parameter']} of the {first['varied']} "
        f"{formats.isolated(first['component'])}, mean over {formats.counted(int(points['seeds'].max()), 'seed')}, "
        f"a line for each {'attack' if defense else 'defense'}.",
        "Dotted, in the color of its attack: the same without defense." if defense else "",
        "Dashed: clean training data without defense.",
        _adaptive(points["against"]),
        _intervals("clean_test_accuracy", points),
        _cut_names([first["component"], *points["against"]]),
        _conditions(cells),
    )


def _text(*sentences: str) -> str:
    return "\n".join(filter(None, sentences)) + "\n"


def _attacks(cells: pd.DataFrame) -> str:
    """Those behind a mean."""
    names = sorted(set(cells.loc[cells["counted"].astype(bool), "attack_selection"]) - {"none"})
    return f"{formats.counted(len(names), 'attack')} ({', '.join(map(formats.isolated, names))})"


def _adaptive(attacks: Iterable[str]) -> str:
    return f"Last, the adaptive attacks: {ADAPTIVE_NOTE}." if any(map(names_adaptive, attacks)) else ""


def _intervals(column: str, rows: pd.DataFrame) -> str:
    """A sentence about the bars around the accuracies of a column."""
    widths = rows["half_width_95"]
    if widths.isna().all():
        return "One seed, so there are no intervals."
    beyond = (widths > rows[column]) | (widths > 1 - rows[column])
    return f"Bars: 95 % Student-t intervals of the mean over seeds{', cut at 0 and 100 %' if beyond.any() else ''}."


def _conditions(cells: pd.DataFrame) -> str:
    """Data, recipe, numbers of images and seeds, machine."""
    first, done = cells.iloc[0], cells[cells["status"] == "done"]
    seeds = sorted(cells["seed"].unique())
    place = [f"Data set {formats.isolated(first['dataset'])}"]
    place += [f"preset {first['preset']}"] * bool(first["preset"])
    place += [f"victim {formats.isolated(first['victim_selection'])}"] + [first["precision"]] * bool(first["precision"])
    devices = sorted({AND.join(devices) for devices in done["device"] if devices})
    versions = sorted(cells.get("provenance_purify-bench", pd.Series(dtype="string")).dropna().unique())
    return (
        f"{', '.join(place)}. {first['train_images']:,} training images; every accuracy is on "
        f"{first['test_images']:,} test images after the last epoch. "
        f"{formats.counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))}). {len(done):,} of {len(cells):,} cells "
        f"finished. Device: {'; '.join(devices) or formats.DASH}."
        + (f" purify-bench {' and '.join(versions)}." if versions else "")
    )


def _flags(group: pd.DataFrame) -> str:
    """The flags of rows, as on the board."""
    shared = shared_flags(group)
    lines = [f"All rows: {', '.join(shared)}."] if shared else []
    for _, row in group.iterrows():
        own = [text for text in shown_flags(row) if text not in shared]
        lines += [f"{formats.isolated(row['defense_selection'])}: {', '.join(own)}."] if own else []
    return "\n".join(lines)


def _cut_names(names: Sequence[str] | pd.Series[str]) -> str:
    """Names that are not whole where the figure has one column."""
    return _listed(
        "Names that are changed or cut", [name for name in dict.fromkeys(names) if cut(name, "single") != name]
    )


def _listed(what: str, names: Sequence[str] | pd.Series[str] | dict[str, None]) -> str:
    listed = ", ".join(map(formats.isolated, names))
    return f"{what}: {listed}." if listed else ""
