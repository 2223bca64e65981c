"""Baselines of a cell: the undefended cell, the clean baseline, and the cost that follows from them."""

from __future__ import annotations

import pandas as pd

from bench.errors import UserError
from leaderboard.tables.columns import COORDINATES, GROUP

_UNDEFENDED = {"clean_test_accuracy": "undefended_accuracy"}
_CLEAN = {"clean_test_accuracy": "clean_baseline_accuracy"}
_TRAINING = {
    "train_seconds": "undefended_train_seconds",
    "train_energy_joules": "undefended_train_energy_joules",
}


def with_baselines(frame: pd.DataFrame, elsewhere: pd.DataFrame) -> pd.DataFrame:
    """Adds undefended and clean baseline accuracy, recovery, and the cost columns to every finished cell.

    A purifier trains the same recipe on as many images, so its extra training time is 0 by construction; the
    measured difference would be noise. Only a defense that trains differently is charged the difference to the
    undefended training of the same attack, victim, seed and device. A missing addend leaves the cost null.

    Args:
        frame: the cells that are shown.
        elsewhere: the same cells of other stores, with the same columns; their undefended trainings are compared with
            where the one that is shown ran on another device.

    Raises:
        UserError: if two finished cells stand for the same coordinates.
    """
    done = frame[frame["status"] == "done"]
    _check_unique(done)
    undefended = done[done["defense"] == "none"]
    looked_up = [*_UNDEFENDED.values(), *_CLEAN.values(), *_TRAINING.values()]
    frame = frame.drop(columns=looked_up, errors="ignore")
    same_cell = [*GROUP, "attack_selection", "seed"]
    frame = _look_up(frame, undefended, same_cell, _UNDEFENDED)
    frame = _look_up(frame, undefended[undefended["attack"] == "none"], [*GROUP, "seed"], _CLEAN)
    trainings = pd.concat([undefended, elsewhere[elsewhere["defense"] == "none"]])
    trainings = trainings[trainings["device"].map(len) > 0]
    frame = _look_up(frame, trainings.drop_duplicates([*same_cell, "device"]), [*same_cell, "device"], _TRAINING)
    for name in looked_up:
        frame[name] = frame[name].where(frame["status"] == "done")

    gap = frame["clean_baseline_accuracy"] - frame["undefended_accuracy"]
    frame["recovery"] = ((frame["clean_test_accuracy"] - frame["undefended_accuracy"]) / gap).where(gap > 0)
    purify, frame["extra_train_seconds"], view = _added(frame, "seconds")
    frame["cost_seconds"] = purify + frame["extra_train_seconds"] + view
    frame["cost_multiple"] = 1 + frame["cost_seconds"] / frame["undefended_train_seconds"]
    frame["cost_energy_joules"] = sum(_added(frame, "energy_joules"))
    return frame


def _added(frame: pd.DataFrame, unit: str) -> tuple[pd.Series[float], pd.Series[float], pd.Series[float]]:
    """Costs of purification, training and the view, in this unit; defense `none` adds nothing, by definition."""
    measured = (frame["status"] == "done") & frame[f"train_{unit}"].notna()
    difference = frame[f"train_{unit}"] - frame[f"undefended_train_{unit}"]
    purify = frame[f"purify_{unit}"].mask(frame["defense"] == "none", 0.0)
    view = frame[f"view_{unit}"].where(frame["sees_test_images"] | frame[f"view_{unit}"].notna(), 0.0)
    return purify.where(measured), difference.where(frame["trains_differently"], 0.0).where(measured), view


def _look_up(frame: pd.DataFrame, reference: pd.DataFrame, on: list[str], columns: dict[str, str]) -> pd.DataFrame:
    """Adds columns of the reference cell that agrees in `on`, renamed; the order of the rows stays."""
    found = reference[[*on, *columns]].rename(columns=columns)
    return frame.merge(found, how="left", on=on, validate="many_to_one")


def _check_unique(done: pd.DataFrame) -> None:
    repeated = done[done.duplicated(COORDINATES, keep=False)]
    if repeated.empty:
        return
    first = repeated[(repeated[COORDINATES] == repeated[COORDINATES].iloc[0]).all(axis=1)]
    where = ", ".join(f"{name.removesuffix('_selection')} {first[name].iloc[0]}" for name in COORDINATES[3:])
    raise UserError(
        f"{len(repeated)} finished cells repeat the coordinates of another, for example {' and '.join(first['key'])} "
        f"({where}); averaging them would count one seed twice: delete the outdated files or publish one store"
    )
