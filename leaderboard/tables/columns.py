"""The columns of the two tables, in order, with their units: what `cells.csv` and `leaderboard.csv` mean.

Behind the fixed columns come the open ones: `score_<name>` and `provenance_<name>` in the cells, sorted, and
`accuracy[<attack>]` and `half_width_95[<attack>]` in the leaderboard, one per poison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from leaderboard.tables.targets import TARGETS


class Column(NamedTuple):
    """A column's pandas type (`string`, `Int64`, `float64`, `boolean`, `object`), what it holds, and in which unit.

    A column of type `object` holds a tuple in each row; files have it as text, joined by `separator`.
    """

    dtype: str
    meaning: str
    unit: str = ""
    separator: str = ""

    @property
    def described(self) -> str:
        """Unit and meaning: `s; wall time of the purify stage`."""
        return f"{self.unit}; {self.meaning}" if self.unit else self.meaning


AND = " + "
"""Joins the names of several devices in text."""

GROUP = ["dataset", "dataset_selection", "dataset_digest", "preset", "victim_selection", "precision"]
"""Rows are compared only if they agree in these."""

COORDINATES = [*GROUP, "attack_selection", "defense_selection", "seed"]
"""Columns that identify a cell: at most one finished cell each."""

CELL_COLUMNS = {
    "key": Column("string", "name of the cell's file"),
    "status": Column("string", "done, failed or skipped"),
    "dataset": Column("string", "name of the data set"),
    "dataset_selection": Column("string", "the data set as it was selected, with its parameters"),
    "dataset_digest": Column("string", "digest of its contents"),
    "train_images": Column("Int64", "training images"),
    "test_images": Column("Int64", "test images: n behind clean_test_accuracy"),
    "preset": Column("string", "preset it was run under, or empty"),
    "precision": Column("string", "float32 or bfloat16, of all three stages; empty: not recorded, by an older release"),
    "victim": Column("string", "registered name of the victim"),
    "victim_selection": Column("string", "name and non-default parameters"),
    "epochs": Column("Int64", "epochs the victim was trained, the defense's own number where it has one"),
    "batch_size": Column("Int64", "of the victim's recipe"),
    "victim_parameters": Column("string", "JSON; all parameters and the recipe, as without defense"),
    "attack": Column("string", "registered name of the attack; none: clean training data"),
    "attack_selection": Column("string", "name and non-default parameters"),
    "attack_parameters": Column("string", "JSON; all parameters, a file by the digest of its content if it is logged"),
    "budget": Column("string", "norm and radius of the perturbation, or `no norm bound`"),
    "attack_traits": Column("object", "kind of the attack with its default parameters", separator=", "),
    "counted": Column(
        "boolean",
        "true if means, ranks and counts of the board have it; false for adaptive attacks, for points of a curve "
        "over a parameter of an attack, of which the default counts (else the largest value), and for attacks whose "
        "poison did not take, where another attack counts",
    ),
    "defense": Column("string", "registered name of the defense; none: undefended"),
    "defense_selection": Column("string", "name and non-default parameters"),
    "defense_parameters": Column("string", "JSON; likewise"),
    "family": Column("string", "family of the defense, or empty"),
    "uses": Column("object", "knowledge of the defense beyond the poisoned set", separator=", "),
    "trains_differently": Column("boolean", "the defense replaces the loss of a batch or changes the recipe"),
    "sees_test_images": Column("boolean", "the defense views test images"),
    "seed": Column("Int64", "seed of the matrix"),
    "clean_test_accuracy": Column("float64", "fraction 0..1, whole untouched test set, after the last epoch"),
    "peak_accuracy": Column(
        "float64", "of the best epoch of the curve: an oracle, the epoch is chosen with test labels", "fraction"
    ),
    "undefended_accuracy": Column("float64", "defense none, otherwise the same cell", "fraction"),
    "clean_baseline_accuracy": Column("float64", "attack none and defense none, otherwise the same cell", "fraction"),
    "recovery": Column("float64", "(defended - undefended) / (clean baseline - undefended); null if that gap is <= 0"),
    "purify_seconds": Column("float64", "wall time of the purify stage, without rehearsal; median of purify_runs", "s"),
    "purify_seconds_min": Column("float64", "least of its runs", "s"),
    "purify_seconds_max": Column("float64", "most of its runs", "s"),
    "purify_runs": Column(
        "Int64",
        "runs of the purify stage; if the first is 3 times as slow as the others (and 0.2 s), it is purify_seconds",
    ),
    "fit_seconds": Column("float64", "its phase fit", "s"),
    "apply_seconds": Column("float64", "its phase apply", "s"),
    "train_seconds": Column(
        "float64", "phases train, change_recipe and report of the victim's training: no rehearsal, no evaluation", "s"
    ),
    "undefended_train_seconds": Column("float64", "the same without defense, on the same device", "s"),
    "extra_train_seconds": Column(
        "float64", "training with minus without the defense; 0 if it trains the same way", "s"
    ),
    "warm_seconds": Column(
        "float64", "rehearsals of first steps (loading, allocating, compiling) of purify and train; not charged", "s"
    ),
    "view_seconds": Column("float64", "what the defense's view adds to scoring all test images", "s"),
    "view_seconds_per_10k": Column("float64", "the same for 10,000 images", "s"),
    "cost_seconds": Column("float64", "purify + extra_train + view: what the defender pays", "s"),
    "cost_multiple": Column(
        "float64", "(cost + undefended training) / undefended training; 1.0 costs nothing; below 1: a shorter training"
    ),
    **{
        f"seconds_to_{target}": Column(
            "float64",
            f"purify + training up to the first epoch with {target} %, an epoch being an equal part of the training; "
            "empty if the last epoch has less",
            "s",
        )
        for target in TARGETS
    },
    "peak_gpu_bytes": Column("Int64", "larger of purify and train", "bytes"),
    "peak_host_bytes": Column("Int64", "larger of purify and train, each beyond what its process held before", "bytes"),
    "purify_energy_joules": Column("float64", "of the GPU, during purify_seconds", "J"),
    "train_energy_joules": Column("float64", "of the GPU, during train_seconds", "J"),
    "view_energy_joules": Column("float64", "of the GPU, during view_seconds", "J"),
    "undefended_train_energy_joules": Column("float64", "the same without defense, on the same device", "J"),
    "cost_energy_joules": Column("float64", "GPU energy of purification, extra training and test-time view", "J"),
    "device": Column("object", "device of purify and train", separator=AND),
    "exclusive": Column("boolean", "true if no other process used it meanwhile; null if that could not be told"),
    "poison_seconds": Column("float64", "crafting the poison, never charged to the defender", "s"),
    "poison_key": Column("string", "artifact of the poison stage"),
    "purify_key": Column("string", "artifact of the purify stage"),
    "train_key": Column("string", "artifact of the train stage"),
    "flags": Column(
        "object", "what makes the cell doubtful; each flag is explained in the table of flags", separator=", "
    ),
    "error_stage": Column("string", "stage in which a failed cell failed"),
    "error_message": Column("string", "why it failed or was skipped"),
}

BOARD_COLUMNS = {
    "rank": Column(
        "Int64",
        "by mean_accuracy inside one data set, preset, victim and precision; shared if not separable; empty for "
        "provisional rows and for defenses that use test-set, clean-originals or paired-data",
    ),
    "cost_rank": Column(
        "Int64",
        "by cost_seconds; shared if ranges nearly meet or two digits agree; only exclusive costs of one device",
    ),
    "dataset": CELL_COLUMNS["dataset"],
    "dataset_selection": CELL_COLUMNS["dataset_selection"],
    "dataset_digest": CELL_COLUMNS["dataset_digest"],
    "preset": CELL_COLUMNS["preset"],
    "precision": CELL_COLUMNS["precision"],
    "victim": CELL_COLUMNS["victim"],
    "victim_selection": CELL_COLUMNS["victim_selection"],
    "defense": CELL_COLUMNS["defense"],
    "defense_selection": CELL_COLUMNS["defense_selection"],
    "family": CELL_COLUMNS["family"],
    "uses": CELL_COLUMNS["uses"],
    "mean_accuracy": Column(
        "float64", "clean test accuracy, mean over the attacks that count (without clean data) and seeds", "fraction"
    ),
    "half_width_95": Column("float64", "95 % Student-t half-width over seeds of the mean over attacks", "fraction"),
    "peak_accuracy": Column(
        "float64",
        "the same mean with the best epoch of each cell's curve: an oracle, the epochs are chosen with test labels",
        "fraction",
    ),
    "mean_without_one": Column(
        "float64",
        "lowest mean over all attacks but one, which is left out with all its settings: how much mean_accuracy depends "
        "on one attack",
        "fraction",
    ),
    "held_out_mean": Column(
        "float64",
        "of a family or of several settings of a defense (rows best per attack): each attack with the setting that has "
        "the best mean against the others (no setting of the attack among them), mean over attacks",
        "fraction",
    ),
    "held_out_worst": Column("float64", "the lowest of these accuracies", "fraction"),
    "tuning_seconds": Column(
        "float64",
        "of these rows: all purifications and trainings of all their settings, against all attacks and with all seeds, "
        "which the choice by accuracy takes; no part of cost_seconds",
        "s",
    ),
    "worst_accuracy": Column("float64", "lowest mean over seeds of one attack that counts", "fraction"),
    "worst_attack": Column("string", "the attack it belongs to"),
    "best_known_accuracy": Column(
        "float64",
        "the lowest of worst_accuracy and the means of adaptive attacks, which no other column counts; empty if no "
        "adaptive attack was crafted through this very defense",
        "fraction",
    ),
    "best_known_attack": Column("string", "the attack it belongs to"),
    "adaptive_attacks": Column(
        "Int64", "adaptive attacks that were crafted through this very defense, with a finished cell for each seed"
    ),
    "clean_accuracy": Column(
        "float64", "clean test accuracy after this defense on clean training data (attack none): its price", "fraction"
    ),
    "envelope_accuracy": Column(
        "float64",
        "mean accuracy of the group's baseline envelope: best of gray and JPEG at 10, 30, 50, 70 and 90, one setting "
        "for all attacks, chosen with test labels; empty if fewer than two of the six are present",
        "fraction",
    ),
    "envelope_defense": Column("string", "the setting that this is"),
    "envelope_settings": Column("Int64", "how many of the six have all their cells"),
    "recovery": Column(
        "float64",
        "(mean defended - mean undefended) / (mean clean baseline - mean undefended) accuracy over the poisons that "
        "took; 0: as undefended, 1: as trained on clean data; empty if none took",
    ),
    "cost_seconds": Column(
        "float64",
        "purify + extra_train + view, each the median over the row's cells, attack none included; empty if it is below "
        "0 and not exclusive",
        "s",
    ),
    "cost_seconds_min": Column("float64", "least that the measurements of these cells allow, repeats included", "s"),
    "cost_seconds_max": Column("float64", "most that they allow", "s"),
    "cost_multiple": Column(
        "float64",
        "(cost + undefended training) / undefended training, medians; 1.0 costs nothing, below 1 the defended training "
        "is shorter than the undefended one",
    ),
    "purify_seconds": Column("float64", "wall time of the purify stage, median over the same cells", "s"),
    "extra_train_seconds": Column("float64", "median training with the defense minus the median without", "s"),
    "warm_seconds": Column(
        "float64",
        "rehearsals of first steps (loading, allocating, compiling), median over the same cells; not charged",
        "s",
    ),
    "attacks_that_took": Column(
        "Int64", "attacks behind the mean without the flag `poison did not take`; 0: none took, so all count"
    ),
    "not_counted": Column(
        "object",
        "attacks whose poison did not take: behind no value of the row but their own accuracy; empty if none took",
        separator=", ",
    ),
    **{
        f"attacks_at_{target}": Column(
            "Int64", f"attacks that took and against which every seed has {target} % after the last epoch"
        )
        for target in TARGETS
    },
    **{
        f"seconds_to_{target}": Column(
            "float64",
            f"purify + training up to the first epoch with {target} %, an epoch being an equal part of the training; "
            f"median over the cells of attacks_at_{target}",
            "s",
        )
        for target in TARGETS
    },
    "seconds_per_point": Column(
        "float64",
        "cost_seconds by points of mean accuracy above undefended, over the poisons that took; empty if there are none "
        "or the cost is below 0",
        "s",
    ),
    "joules_per_point": Column("float64", "cost_energy_joules by the same points", "J"),
    "peak_gpu_bytes": Column("Int64", "largest GPU memory of purify and train in these cells", "bytes"),
    "peak_host_bytes": Column("Int64", "most host memory that purify or train took in these cells", "bytes"),
    "cost_energy_joules": Column(
        "float64", "energy of the GPU: purify + extra training + view, medians like the seconds", "J"
    ),
    "device": Column("object", "devices of purify and train", separator=AND),
    "n": Column("Int64", "finished cells behind mean_accuracy"),
    "seeds": Column("Int64", "seeds of the group"),
    "missing": Column("Int64", "cells that failed, were skipped or are absent, attack none included"),
    "flags": Column(
        "object",
        "what makes the row doubtful, and the flags of its cells with the attacks behind a colon",
        separator=", ",
    ),
}


def accuracy_column(attack: str) -> str:
    """Name of the leaderboard's column for one attack: mean over seeds, a fraction."""
    return f"accuracy[{attack}]"


def half_width_column(attack: str) -> str:
    """Name of the leaderboard's column for the 95 % Student-t half-width over seeds of one attack's accuracy."""
    return f"half_width_95[{attack}]"


def accuracy_columns(board: pd.DataFrame) -> dict[str, str]:
    """Attack to column name, for the per-attack columns of a leaderboard that hold a value, in order."""
    names = [str(name) for name in board.columns if str(name).startswith("accuracy[")]
    return {name[len("accuracy[") : -1]: name for name in names if board[name].notna().any()}


def typed(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    """A frame with exactly these columns and types; a value a row lacks is null, a tuple it lacks is empty."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    frame = frame.astype({name: column.dtype for name, column in columns.items()})
    for name in (name for name, column in columns.items() if column.separator):
        frame[name] = pd.Series([v if isinstance(v, tuple) else () for v in frame[name]], frame.index, object)
    return frame


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as files have it: tuples joined to text."""
    separators = {n: c.separator for n, c in (CELL_COLUMNS | BOARD_COLUMNS).items() if c.separator and n in frame}
    return frame.assign(
        **{
            name: pd.Series([separator.join(map(str, value)) for value in frame[name]], frame.index, "string")
            for name, separator in separators.items()
        }
    )
