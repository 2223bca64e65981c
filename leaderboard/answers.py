"""The first five seconds: which defense is best, what it costs, how sure we are, for one group of the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboard import formats

_NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Answer:
    """One question with its answer and what qualifies it."""

    question: str
    text: str
    note: str


def answers(board: pd.DataFrame) -> list[Answer]:
    """What the rows of one group say; an incomplete matrix says so."""
    ranked = board[board["rank"].notna()]
    if ranked.empty:
        return [Answer("Best defense", formats.DASH, "no defense has all its cells yet"), _undefended(board)]
    best = ranked[ranked["rank"] == 1]
    first = best.iloc[0]
    return [_best(best), _price(first, ranked), _certainty(first, ranked, best), _undefended(board)]


def _best(best: pd.DataFrame) -> Answer:
    first = best.iloc[0]
    value = f"{formats.percent(first['mean_accuracy'])}{_NBSP}% mean accuracy"
    worst = f"worst {formats.percent(first['worst_accuracy'])}{_NBSP}% ({formats.isolated(first['worst_attack'])})"
    if len(best) == 1:
        return Answer("Best defense", first["defense_selection"], f"{value}, {worst}")
    others = _names(best["defense_selection"].iloc[1:])
    return Answer("Best defenses, tied", first["defense_selection"], f"{value}, {worst}; tied with {others}")


def _price(first: pd.Series[Any], ranked: pd.DataFrame) -> Answer:
    if formats.is_missing(first["cost_seconds"]):
        return Answer("What it costs", formats.DASH, "not measured")
    multiple = formats.multiple(first["cost_multiple"])
    note = f"{multiple} an undefended training" if multiple != formats.DASH else "no undefended training beside it"
    if formats.is_missing(first["cost_rank"]):
        note += f"; not ranked: {_doubt(first)}"
    elif first["cost_rank"] == 1:
        note += "; the cheapest"
    else:
        cheaper = ranked[ranked["cost_rank"] < first["cost_rank"]]
        other = cheaper.iloc[0]  # by falling mean: the next corner of the Pareto front
        cost, mean = formats.seconds(other["cost_seconds"]), formats.percent(other["mean_accuracy"])
        note += f"; the best of the cheaper ones: {formats.isolated(other['defense_selection'])}, {mean}{_NBSP}% for {cost}"
    return Answer("What it costs", formats.seconds(first["cost_seconds"]), note)


def _doubt(first: pd.Series[Any]) -> str:
    """Why the cost of the best defense has no rank."""
    if "several devices" in first["flags"]:
        return f"measured on {first['device']}, others elsewhere"
    return next((flag for flag in ("not exclusive", "exclusivity unknown") if flag in first["flags"]), "see the flags")


def _certainty(first: pd.Series[Any], ranked: pd.DataFrame, best: pd.DataFrame) -> Answer:
    others = ranked.drop(best.index)
    lead = "" if others.empty else f"{_lead(first, others.iloc[0])} ahead of {formats.isolated(others.iloc[0]['defense_selection'])}"
    if len(best) > 1:
        lead = "the lead is within the interval"
    seeds = f"{first['seeds']} seed{'s' if first['seeds'] != 1 else ''}, n = {first['n']} cells"
    if formats.is_missing(first["half_width_95"]):
        single = f"{seeds}: single runs"
        return Answer("How sure", "no interval", f"{single}, {lead}" if lead and len(best) == 1 else single)
    text = f"± {formats.percent(first['half_width_95'])} points"
    return Answer("How sure", text, f"95 %, {seeds}" + (f"; {lead}" if lead else ""))


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


def _names(names: pd.Series[Any]) -> str:
    shown = ", ".join(map(formats.isolated, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
