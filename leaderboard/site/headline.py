"""The first five seconds: which defense is best, what it costs, how sure we are, for one group of the board."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.tables.columns import AND
from leaderboard.tables.flags import Flag, has, never_ranked
from leaderboard.tables.ranking import separable
from leaderboard.tables.statistics import binomial_half_width_95, tie_width

_NBSP = "\N{NO-BREAK SPACE}"
_SHOWN = 2


@dataclass(frozen=True)
class Answer:
    """One question with its answer and what qualifies it; `value` is the number of a defense that is named.

    `leading` if it names a defense, which the page marks.
    """

    question: str
    text: str
    note: str
    leading: bool = False
    value: str = ""


def headline(board: pd.DataFrame, test_images: int) -> list[Answer]:
    """Headline results of one group; an incomplete matrix says so, and so does one where no poison took.

    No defense is called the best that is not better than undefended training: above it by the 95 % interval.

    Args:
        board: the rows of the group.
        test_images: on which every accuracy was measured.
    """
    ranked, provisional = board[board["rank"].notna()], board[_provisional(board)]
    if ranked.empty and provisional.empty:
        whole = board[(board["defense"] != "none") & board["mean_accuracy"].notna()]
        note = "no defense has all its cells yet" if whole.empty else "no defense that can be ranked has all its cells"
        return [Answer("Best defense", formats.DASH, note), _undefended(board)]
    compared = provisional if ranked.empty else ranked
    took, attacks = _took(compared.iloc[0])
    if not took:
        whose = "The attack leaves" if attacks == 1 else f"All {attacks} attacks leave"
        note = f"{whose} the undefended victim as accurate as on clean data, which says nothing about defenses"
        return [Answer("Best defense", "no poison took", note), _undefended(board)]
    best = compared[:1] if ranked.empty else ranked[ranked["rank"] == 1]
    helping = best[[_helps(row, board, test_images) for _, row in best.iterrows()]]
    answer = _no_help(best.iloc[0], board) if helping.empty else _best(helping)
    if took < attacks:
        answer = replace(answer, note=f"{answer.note}; {took} of {attacks} poisons took")
    if ranked.empty:
        note = f"{answer.note}; fewer than three seeds, so nothing is ranked"
        answer = replace(answer, question="Highest mean, provisional", note=note)
    if helping.empty:
        return [answer, _undefended(board)]
    return [answer, _price(helping, compared), _certainty(helping, compared, test_images), _undefended(board)]


def _helps(row: pd.Series[Any], board: pd.DataFrame, test_images: int) -> bool:
    """True if ranks would tell a row apart from undefended training, or this was not measured, and it is above."""
    means = board.loc[board["defense"] == "none", "mean_accuracy"].dropna()
    if means.empty:
        return True
    undefended = board.loc[means.index[0]]
    above = row["mean_accuracy"] > undefended["mean_accuracy"]
    return bool(above) and separable(_result(row, test_images), _result(undefended, test_images))


def _result(row: pd.Series[Any], test_images: int) -> tuple[float, float]:
    return row["mean_accuracy"], tie_width(row["mean_accuracy"], row["half_width_95"], test_images)


def _no_help(row: pd.Series[Any], board: pd.DataFrame) -> Answer:
    undefended = board.loc[board["defense"] == "none", "mean_accuracy"].iloc[0]
    name, mean = formats.isolated(row["defense_selection"]), f"{formats.percent(row['mean_accuracy'])}{_NBSP}%"
    without = f"the {formats.percent(undefended)}{_NBSP}% without defense"
    above = f"above {without} by less than the 95 % interval"
    how = above if row["mean_accuracy"] > undefended else f"not above {without}"
    return Answer("Best defense", "no defense helps", f"the highest mean, {mean} with {name}, is {how}")


def _took(row: pd.Series[Any]) -> tuple[int, int]:
    """Of how many attacks the poison took, and how many there are, for a row with all its cells."""
    return int(row["attacks_that_took"]), int(row["n"] // row["seeds"])


def _provisional(board: pd.DataFrame) -> list[bool]:
    """True for rows that would have a rank if there were more seeds."""
    complete = (board["defense"] != "none") & board["mean_accuracy"].notna()
    return [
        bool(whole) and has(Flag.PROVISIONAL, flags) and not never_ranked(flags)
        for whole, flags in zip(complete, board["flags"], strict=True)
    ]


def _best(best: pd.DataFrame) -> Answer:
    shown = best.iloc[:_SHOWN]
    means = " and ".join(dict.fromkeys(f"{formats.percent(value)}{_NBSP}%" for value in shown["mean_accuracy"]))
    worst = " and ".join(
        f"{formats.percent(value)}{_NBSP}% ({formats.isolated(attack)})"
        for value, attack in zip(shown["worst_accuracy"], shown["worst_attack"], strict=True)
    )
    names = ", ".join(map(formats.isolated, shown["defense_selection"]))
    more = f" and {len(best) - _SHOWN} more" if len(best) > _SHOWN else ""
    question = "Best defense" if len(best) == 1 else "Best defenses, tied"
    return Answer(question, names + more, f"mean accuracy, worst {worst}", leading=True, value=means)


def _price(best: pd.DataFrame, ranked: pd.DataFrame) -> Answer:
    """Costs, those of several defenses with their names."""
    shown = best.iloc[:_SHOWN]
    if shown["cost_seconds"].isna().all():
        return Answer("What it costs", formats.DASH, "not measured")
    multiples = [formats.multiple(value) for value in shown["cost_multiple"].dropna()]
    note = (
        f"{' and '.join(multiples)} an undefended training" if multiples else "no undefended training to compare with"
    )
    unranked, cheapest = best[best["cost_rank"].isna()], best["cost_rank"].min()
    if not unranked.empty:
        whose = f"{formats.isolated(unranked.iloc[0]['defense_selection'])} " if len(best) > 1 else ""
        note += f"; {whose}not ranked: {_doubt(unranked.iloc[0])}"
    elif cheapest == 1:
        note += "; the cheapest" if len(best) == 1 else "; one is the cheapest of all"
    else:
        other = ranked[ranked["cost_rank"] < cheapest].iloc[0]  # by falling mean: the next corner of the Pareto front
        cost, mean = formats.seconds(other["cost_seconds"]), formats.percent(other["mean_accuracy"])
        name = formats.isolated(other["defense_selection"])
        note += f"; the best of the cheaper ones: {name}, {mean}{_NBSP}% for {cost}"
    costs = [
        formats.seconds(value).replace(" ", _NBSP) + (f" ({formats.isolated(name)})" if len(shown) > 1 else "")
        for value, name in zip(shown["cost_seconds"], shown["defense_selection"], strict=True)
    ]
    return Answer("What it costs", ", ".join(costs), note)


def _doubt(row: pd.Series[Any]) -> str:
    """Reason why a cost has no rank."""
    if has(Flag.SEVERAL_DEVICES, row["flags"]):
        return f"measured on {AND.join(row['device'])}, others elsewhere"
    doubts = (Flag.NOT_EXCLUSIVE, Flag.EXCLUSIVITY_UNKNOWN, Flag.UNEVEN, Flag.MICRO_BATCHES)
    return next((flag for flag in doubts if has(flag, row["flags"])), "see the flags")


def _certainty(best: pd.DataFrame, ranked: pd.DataFrame, test_images: int) -> Answer:
    """The widest interval of the best rows and the defense that it belongs to."""
    first, others = best.iloc[0], ranked.drop(best.index)
    lead = ""
    if len(best) > 1:
        lead = "the difference is within the interval"
    elif not others.empty and (others["rank"] == first["rank"]).any():
        lead = f"the difference from {formats.isolated(others.iloc[0]['defense_selection'])} is within the interval"
    elif not others.empty:
        lead = f"{_lead(first, others.iloc[0])} ahead of {formats.isolated(others.iloc[0]['defense_selection'])}"
    if formats.is_missing(first["half_width_95"]):
        alone = formats.percent(binomial_half_width_95(first["mean_accuracy"], test_images))
        lead = f"{lead}; " if lead and len(best) == 1 else ""
        images = f"{test_images:,} test images, which alone leave ±{_NBSP}{alone} points in each"
        return Answer("How sure", "one seed, no interval", f"{lead}{_cells(first)} on {images}")
    widest = best.loc[best["half_width_95"].idxmax()]
    note = f"95 %, {widest['seeds']} seeds, {_cells(widest)}" + (f"; {lead}" if lead else "")
    return Answer("How sure", f"± {formats.percent(widest['half_width_95'])} points", note)


def _cells(row: pd.Series[Any]) -> str:
    return f"n = {row['n']} cells of {formats.isolated(row['defense_selection'])}"


def _lead(first: pd.Series[Any], second: pd.Series[Any]) -> str:
    return f"{100 * (first['mean_accuracy'] - second['mean_accuracy']):.1f} points"


def _undefended(board: pd.DataFrame) -> Answer:
    rows = board[board["defense"] == "none"]
    if rows.empty:
        return Answer("Without defense", formats.DASH, "not measured")
    row = rows.iloc[0]
    clean = formats.percent(row["clean_accuracy"])
    return Answer(
        "Without defense", f"{formats.percent(row['mean_accuracy'])} %", f"trained on clean data: {clean}{_NBSP}%"
    )
