"""Flags of doubtful rows and cells: every flag there is, with its explanation for readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd


class Flag(StrEnum):
    """A flag's text and what it means, in one or two sentences."""

    explanation: str

    def __new__(cls, text: str, explanation: str) -> Flag:
        flag = str.__new__(cls, text)
        flag._value_, flag.explanation = text, explanation
        return flag

    ORACLE = (
        "oracle",
        "The best for each attack, chosen with test labels: of these members of a family, with the preset's own "
        "parameters, or of all settings of a defense. It costs what all of them cost, and is never ranked.",
    )
    MISSING = (
        "missing",
        "Cells of the row failed, were skipped or were not run; the number says how many. It has no mean and no rank.",
    )
    FAILED = "failed", "A cell of the row ended with an error; the section on missing results shows it."
    PROVISIONAL = "provisional", "Fewer than three seeds. The row has no rank by accuracy; a cost needs no seeds."
    TEST_DATA = (
        "uses test data",
        "The defense was given test images (uses test-set), so its accuracy is measured on images that it has seen. "
        "The row has no rank.",
    )
    ORIGINALS = (
        "uses clean originals",
        "The defense was given clean versions of the poisoned images, or a model that was trained on them (uses "
        "clean-originals, paired-data). Who has these needs no defense. The row has no rank.",
    )
    CLEAN_LOST = (
        "clean accuracy lost",
        "On clean training data the victim is over 10 points less accurate with this defense than without.",
    )
    BELOW_ENVELOPE = (
        "below the baseline envelope",
        "Gray or JPEG, with one setting for all attacks, has a higher mean in every seed, by at least the 95 % "
        "interval that the test images leave. The setting was chosen with test labels. The settings themselves are not "
        "flagged.",
    )
    VARIES = (
        "varies over seeds",
        "The sample standard deviation of the accuracy over at least two seeds is above 5 points.",
    )
    UNVALIDATED = "unvalidated preset", "Nobody has compared the results of this preset with published ones yet."
    NOT_EXCLUSIVE = (
        "not exclusive",
        "Another process used the device during a measurement, or the stage used more processors than its threads. The "
        "cost has no rank; below 0 it says nothing and is not shown.",
    )
    EXCLUSIVITY_UNKNOWN = (
        "exclusivity unknown",
        "It could not be told whether another process used the device. The cost has no rank.",
    )
    SEVERAL_DEVICES = (
        "several devices",
        "The row was measured on another device than the undefended training of its data set, preset, victim and "
        "precision, or on several. Its cost is not compared and has no rank.",
    )
    UNEVEN = (
        "uneven purification",
        "One purification took over 3 times as long as the others, which may have used its work. The cost has no rank.",
    )
    PAYS_ONCE = (
        "first run slower than its repeats",
        "The first run of the purification took over 3 times as long as its repeats, which may have used its work. The "
        "first run is the cost, which has no rank.",
    )
    MICRO_BATCHES = (
        "batches in parts",
        "The GPU had no memory for a whole batch of the training, so each batch's gradient was computed in parts. That "
        "takes longer, and the cost has no rank.",
    )
    NOT_CONVERGED = (
        "attack not converged",
        "The attack stopped before its own goal was reached, for example at a time limit. Its poison may be too weak.",
    )
    OVERFITTING = (
        "catastrophic overfitting",
        "Single-step adversarial training failed: the victim withstands the single step and no stronger attack.",
    )
    OVERFITTING_UNKNOWN = (
        "overfitting not checked",
        "The training was too short to check for catastrophic overfitting.",
    )
    NOT_TAKEN = (
        "poison did not take",
        "Without a defense the victim is as accurate as on clean data, so the attack says nothing about defenses. It "
        "counts in no mean, worst, rank, cost or envelope, unless no attack took.",
    )
    OTHER_COSTS = (
        "other costs in another store",
        "Two stores hold the cell with the same accuracy and different costs. Those of the first store count.",
    )
    OTHER_ACCURACY = (
        "other accuracy in another store",
        "Two stores hold the cell with different accuracies. That of the first store counts.",
    )


NEVER_RANKED = (Flag.ORACLE, Flag.TEST_DATA, Flag.ORIGINALS)
"""Flags of rows that had more than a defender has: they are shown, marked, and compared with no other row."""


@dataclass(frozen=True)
class Raised:
    """A flag of a leaderboard row, with the attacks whose cells raise it; without names it is the row's own.

    The names of an oracle are those of its members. `everywhere` if the names are all attacks of the group, and more
    than one; `none`, clean data, is no attack.
    """

    flag: Flag
    names: tuple[str, ...] = ()
    everywhere: bool = False

    def __str__(self) -> str:
        names = ["all attacks", *["clean data"] * ("none" in self.names)] if self.everywhere else self.names
        return f"{self.flag}: {' and '.join(names)}" if names else str(self.flag)


def has(flag: Flag, raised: Iterable[Raised]) -> bool:
    """True if this flag is among those of a row."""
    return any(one.flag is flag for one in raised)


def never_ranked(raised: Iterable[Raised]) -> bool:
    """True if one of a row's flags keeps it out of all ranks."""
    return any(one.flag in NEVER_RANKED for one in raised)


def shared_flags(board: pd.DataFrame) -> dict[str, Flag]:
    """The flags for readers that all rows of a leaderboard raise alike; none for a single row."""
    first, *others = (shown_flags(row) for _, row in board.iterrows())
    return {text: flag for text, flag in first.items() if others and all(text in other for other in others)}


def shown_flags(row: Mapping[str, Any] | pd.Series[Any]) -> dict[str, Flag]:
    """The flags of a leaderboard row for readers: `3 missing`, `failed`."""
    return {f"{row['missing']} missing" if one.flag is Flag.MISSING else str(one): one.flag for one in row["flags"]}
