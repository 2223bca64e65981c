"""Command lines as a site shows them: how a cell was computed, and how to compute it again. No folder of a machine."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from bench.store.results import CellResult

_FOLDERS = {"--store", "--out", "--data-root"}
_ABSOLUTE = re.compile(r"(?:(?<=[=:,+])|^)/(?:[^/=:,+]*/)*")
"""The folders of an absolute path that is a word or a value in one: `/home/me/` in `npz:/home/me/set.npz:size=32`."""


def without_paths(cell: CellResult) -> CellResult:
    """The cell as it is published: its command without the folders of the machine it ran on."""
    if "command" not in cell.provenance:
        return cell
    return replace(cell, provenance={**cell.provenance, "command": published_command(str(cell.provenance["command"]))})


def frame_without_paths(cells: pd.DataFrame) -> pd.DataFrame:
    """`cells_frame` as it is published, in the same way."""
    if "provenance_command" not in cells:
        return cells
    published = cells["provenance_command"].map(published_command, na_action="ignore")
    return cells.assign(provenance_command=published.astype("string"))


def published_command(command: str) -> str:
    """The command without `--store`, `--out` and `--data-root`; of an absolute path only the file's name stays."""
    words, kept = iter(_words(command)), []
    for word in words:
        if word in _FOLDERS:
            next(words, "")
        elif word.partition("=")[0] not in _FOLDERS:
            kept.append(_ABSOLUTE.sub("", word))
    return shlex.join(kept)


def reproduce_command(cell: CellResult) -> str:
    """A command that computes this cell (and the baselines that `bench run` adds to every matrix)."""
    options = {
        "preset": cell.preset,
        "dataset": cell.dataset["spec"],
        "attacks": cell.attack.text,
        "defenses": cell.defense.text,
        "victims": cell.victim.text,
        "seeds": f"{cell.seed}," if cell.seed else "1",
        "precision": cell.precision,
        "engine": _engine(cell),
        "threads": _threads(cell),
    }
    words = [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
    words += ["--deterministic"] * (cell.provenance.get("deterministic") is True)
    words += [word for plugin in _given(cell, "--plugin") for word in ("--plugin", plugin)]
    return shlex.join(["bench", "run", *words])


def _engine(cell: CellResult) -> str:
    """The engine, unless it is what `auto` means on that device."""
    engine = cell.provenance.get("engine")
    default = "auto" if cell.provenance.get("cuda") else "eager"
    return str(engine) if engine and engine != default else ""


def _threads(cell: CellResult) -> str:
    """The threads that the command of this cell gave; else, without a GPU, those that it had."""
    given = _given(cell, "--threads")
    return given[-1] if given else str("" if cell.provenance.get("cuda") else cell.provenance.get("threads", ""))


def _given(cell: CellResult, option: str) -> list[str]:
    """Values of an option in the command of this cell, files without their folders."""
    words = _words(published_command(str(cell.provenance.get("command", ""))))
    after = [value for word, value in pairwise(words) if word == option]
    return after + [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]


def _words(command: str) -> list[str]:
    """The words of a command line; one with an open quote, which no shell takes, has none."""
    try:
        return shlex.split(command)
    except ValueError:
        return []
