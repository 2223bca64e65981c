"""The first five seconds: which defense is best, what it costs, how sure we are, for one group of the board."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench import formats
from leaderboard.site.difference import interval, told_apart
from leaderboard.tables.columns import AND
from leaderboard.tables.flags import Flag, has, never_ranked
from leaderboard.tables.statistics import binomial_half_width_95

_NBSP = "\N{NO-BREAK SPACE}"
_SHOWN = 2


@dataclass(frozen=True)
class Answer:
    """One question with its answer and what qualifies it; `values` are the numbers of the defenses that are named.

    `leading` if it names a defense with a rank, which the page marks.
    """

    question: str
    text: str
    note: str
    leading: bool = False
    values: tuple[str, ...] = ()


def headline(board: pd.DataFrame, test_images: int) -> list[Answer]:
    """Headline results of one group; an incomplete matrix says so, and so does one where no poison took.

    Defenses that `told_apart` does not tell apart from the first are named with it. No defense is called the best that
    is not better than undefended training: above it by the interval of the difference.

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
    best = compared[[not told_apart(row, compared.iloc[0], test_images) for _, row in compared.iterrows()]]
    helping = best[[_helps(row, board, test_images) for _, row in best.iterrows()]]
    answer = _no_help(best.iloc[0], board) if helping.empty else _best(helping)
    if took < attacks:
        answer = replace(answer, note=f"{answer.note}; {took} of {attacks} poisons took, and only these count")
    if ranked.empty:
        note = f"{answer.note}; fewer than three seeds, so nothing is ranked"
        question = f"Highest mean{'s' if len(helping) > 1 else ''}, provisional"
        answer = replace(answer, question=question, note=note, leading=False)
    if helping.empty:
        return [answer, _undefended(board)]
    price = _price(helping, compared, all_ranked=_costs_are_ranked(board))
    return [answer, price, _certainty(helping, compared, test_images), _undefended(board)]


def _helps(row: pd.Series[Any], board: pd.DataFrame, test_images: int) -> bool:
    """True if a row is above undefended training and told apart from it, or if this was not measured."""
    means = board.loc[board["defense"] == "none", "mean_accuracy"].dropna()
    if means.empty:
        return True
    undefended = board.loc[means.index[0]]
    above = row["mean_accuracy"] > undefended["mean_accuracy"]
    return bool(above) and told_apart(row, undefended, test_images)


def _no_help(row: pd.Series[Any], board: pd.DataFrame) -> Answer:
    undefended = board.loc[board["defense"] == "none", "mean_accuracy"].iloc[0]
    name, mean = formats.isolated(row["defense_selection"]), f"{formats.percent(row['mean_accuracy'])}{_NBSP}%"
    without = f"the {formats.percent(undefended)}{_NBSP}% without defense"
    above = f"above {without} by less than the 95 % interval"
    how = above if row["mean_accuracy"] > undefended else f"not above {without}"
    return Answer("Best defense", "no defense helps", f"the highest mean, {mean} with {name}, is {how}")


def _took(row: pd.Series[Any]) -> tuple[int, int]:
    """Of how many attacks the poison took, and how many there are, for a row with all its cells."""
    return int(row["attacks_that_took"]), int(row["n"] // row["seeds"]) + len(row["not_counted"])


def _provisional(board: pd.DataFrame) -> list[bool]:
    """True for rows that would have a rank if there were more seeds."""
    complete = (board["defense"] != "none") & board["mean_accuracy"].notna()
    return [
        bool(whole) and has(Flag.PROVISIONAL, flags) and not never_ranked(flags)
        for whole, flags in zip(complete, board["flags"], strict=True)
    ]


def _best(best: pd.DataFrame) -> Answer:
    """The best with its mean; of several that are not told apart each with its mean and its cost."""
    shown = best.iloc[:_SHOWN]
    means = [f"{formats.percent(value)}{_NBSP}%" for value in shown["mean_accuracy"]]
    worst = " and ".join(
        f"{formats.percent(value)}{_NBSP}% ({formats.isolated(attack)})"
        for value, attack in zip(shown["worst_accuracy"], shown["worst_attack"], strict=True)
    )
    names = list(map(formats.isolated, shown["defense_selection"]))
    if len(best) == 1:
        return Answer("Best defense", names[0], f"mean accuracy, worst {worst}", leading=True, values=(means[0],))
    text = " and ".join(names) if len(best) == _SHOWN else f"{', '.join(names)} and {len(best) - _SHOWN} more"
    costs = [f" for {_seconds(cost)}" if pd.notna(cost) else "" for cost in shown["cost_seconds"]]
    values = tuple(f"{name}: {mean}{cost}" for name, mean, cost in zip(names, means, costs, strict=True))
    note = f"mean accuracy and cost; worst {worst}"
    return Answer("Best defenses", f"{text}: not told apart", note, leading=True, values=values)


def _seconds(cost: float) -> str:
    return formats.seconds(cost).replace(" ", _NBSP)


def _costs_are_ranked(board: pd.DataFrame) -> bool:
    """True if every defense that could have a rank has a mean and a cost with a rank."""
    could = board[(board["defense"] != "none") & ~board["flags"].map(never_ranked)]
    return bool((could["mean_accuracy"].notna() & could["cost_rank"].notna()).all())


def _price(best: pd.DataFrame, ranked: pd.DataFrame, *, all_ranked: bool) -> Answer:
    """The cost of one defense; those of several stand with their names already, so their multiples are the answer.

    A defense is called the cheapest only if the costs of all defenses are ranked.
    """
    shown = best.iloc[:_SHOWN]
    if shown["cost_seconds"].isna().all():
        return Answer("What it costs", formats.DASH, "not known")
    multiples = " and ".join(map(formats.multiple, shown["cost_multiple"].dropna()))
    costs = " and ".join(map(_seconds, shown["cost_seconds"]))
    several = bool(multiples) and len(best) > 1
    note = f"{'' if several else f'{multiples} '}an undefended training"
    note = note if multiples else "no undefended training to compare with"
    unranked, first = best[best["cost_rank"].isna()], best["cost_rank"].min()
    if not unranked.empty:
        whose = f"{formats.isolated(unranked.iloc[0]['defense_selection'])} " if len(best) > 1 else ""
        note += f"; {whose}not ranked: {_doubt(unranked.iloc[0])}"
    elif first == 1:
        note += _cheapest(best, ranked) if all_ranked else ""
    else:
        other = ranked[ranked["cost_rank"] < first].iloc[0]  # by falling mean: the next corner of the Pareto front
        cost, mean = formats.seconds(other["cost_seconds"]), formats.percent(other["mean_accuracy"])
        name = formats.isolated(other["defense_selection"])
        note += f"; the best of the cheaper ones: {name}, {mean}{_NBSP}% for {cost}"
    return Answer("What it costs", multiples if several else costs, note)


def _cheapest(best: pd.DataFrame, ranked: pd.DataFrame) -> str:
    own = best.loc[best["cost_rank"] == 1, "defense_selection"]
    words = "the cheapest" if len(own) == (ranked["cost_rank"] == 1).sum() else "among the cheapest"
    return f"; {words}" if len(best) == 1 else f"; {words}: {' and '.join(map(formats.isolated, own))}"


def _doubt(row: pd.Series[Any]) -> str:
    """Reason why a cost has no rank."""
    if has(Flag.SEVERAL_DEVICES, row["flags"]):
        return f"measured on {AND.join(row['device'])}, others elsewhere"
    doubts = (Flag.NOT_EXCLUSIVE, Flag.EXCLUSIVITY_UNKNOWN, Flag.UNEVEN, Flag.MICRO_BATCHES)
    return next((flag for flag in doubts if has(flag, row["flags"])), "see the flags")


def _certainty(best: pd.DataFrame, ranked: pd.DataFrame, test_images: int) -> Answer:
    """The widest interval of the best rows and the defense that it belongs to."""
    first, others = best.iloc[0], ranked.drop(best.index)
    one_seed = formats.is_missing(first["half_width_95"])
    lead = ""
    if len(best) > 1:
        lead = _within(first, best.iloc[1], test_images)
    elif not others.empty:
        second = others.iloc[0]
        ahead = f"{_lead(first, second)} ahead of {formats.isolated(second['defense_selection'])}"
        apart = ahead + (", one training each" if one_seed else "")
        lead = apart if told_apart(first, second, test_images) else _within(first, second, test_images)
    if one_seed:
        alone = formats.percent(binomial_half_width_95(first["mean_accuracy"], test_images))
        images = f"{test_images:,} test images, which alone leave ±{_NBSP}{alone} points in each"
        return Answer("How sure", "one seed, no interval", _sentences(lead, f"{_cells(first)} on {images}"))
    widest = best.loc[best["half_width_95"].idxmax()]
    text = f"± {formats.percent(widest['half_width_95'])} points"
    return Answer("How sure", text, _sentences(f"95 %, {widest['seeds']} seeds, {_cells(widest)}", lead))


def _sentences(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _within(first: pd.Series[Any], second: pd.Series[Any], test_images: int) -> str:
    """The difference of two rows that are not told apart, with its interval."""
    names = " and ".join(formats.isolated(row["defense_selection"]) for row in (first, second))
    width = formats.percent(interval(first, second, test_images))
    return f"{_lead(first, second)} between {names}, interval of the difference ±{_NBSP}{width}"


def _cells(row: pd.Series[Any]) -> str:
    return f"n = {formats.counted(int(row['n']), 'cell')} of {formats.isolated(row['defense_selection'])}"


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
