"""Data of `cell.html`: all cells in a few hundred script files, for a page per cell would be 20,000 files.

A script tag works where the page is opened from a folder; `fetch` does not. `cell.html#KEY` loads the one file that
holds KEY, named by the key's first two characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bench import formats
from bench.errors import UserError
from bench.store.results import CellResult
from leaderboard.export.command_lines import reproduce_command
from leaderboard.published.values import comparisons, measured_of
from leaderboard.site.sheets import Sheets
from leaderboard.tables.cell_rows import cell_row
from leaderboard.tables.columns import COORDINATES

_DERIVED = (
    *("undefended_accuracy", "clean_baseline_accuracy", "recovery", "purify_seconds", "extra_train_seconds"),
    *("view_seconds", "cost_seconds", "cost_multiple", "cost_energy_joules", "undefended_train_seconds"),
)


def cell_files(
    cells: Sequence[CellResult],
    frame: pd.DataFrame,
    sheets: Sheets,
    stores: Sequence[Path],
    repeated: Sequence[CellResult] = (),
) -> dict[str, bytes]:
    """The script files by relative path; each calls `addCells` with its cells by key.

    `repeated` are the same cells of another store: their results are shown too.
    """
    by_key = frame.set_index("key")
    derived = {str(key): row for key, row in by_key[list(_DERIVED)].astype(object).to_dict("index").items()}
    relatives = _Relatives(frame)
    artifacts = _Artifacts(stores)
    others: dict[str, list[dict[str, Any]]] = {}
    for cell in repeated:
        result = {"clean_test_accuracy": cell.clean_test_accuracy, "costs": _costs(cell)}
        others.setdefault(cell.key, []).append(result)
    chunks: dict[str, dict[str, Any]] = {}
    for cell in sorted(cells, key=lambda cell: cell.key):
        record = _record(cell) | {
            "derived": {name: _plain(value) for name, value in derived[cell.key].items()},
            "relatives": relatives.of(cell.key),
            "artifacts": artifacts.of(cell),
            "elsewhere": others.get(cell.key, []),
            "published": _published(cell),
            "sheet": asdict(sheets.by_cell[cell.key]) if cell.key in sheets.by_cell else None,
        }
        chunks.setdefault(chunk_name(cell.key), {})[cell.key] = record
    return {f"cells/{name}.js": _script(records) for name, records in sorted(chunks.items())}


def chunk_name(key: str) -> str:
    """The file of a key; `cell.js` computes the same."""
    return key[:2] if re.fullmatch(r"[0-9a-f]{2}", key[:2]) else "other"


def _record(cell: CellResult) -> dict[str, Any]:
    names = ("key", "status", "preset", "dataset", "seed", "clean_test_accuracy", "test_images", "scores", "logs")
    return {
        **{name: getattr(cell, name) for name in (*names, "precision", "provenance", "error")},
        **{kind: vars(getattr(cell, kind)) for kind in ("attack", "defense", "victim")},
        "curve": _columns(cell.curve),
        "costs": _costs(cell),
        "reproduce": reproduce_command(cell),
    }


def _costs(cell: CellResult) -> dict[str, Any]:
    return {stage: {**vars(cost), "pays_once": cost.pays_once} for stage, cost in cell.costs.items()}


def _columns(curve: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    """Records an epoch as one list a quantity, with six decimals: a third of the size."""
    names = list(dict.fromkeys(name for point in curve for name in point))
    return {name: [None if (v := point.get(name)) is None else round(v, 6) for point in curve] for name in names}


def _published(cell: CellResult) -> list[dict[str, Any]]:
    row = cell_row(cell)
    measured = measured_of(row, row["clean_test_accuracy"], None)
    return [
        {
            "source": found.published.source,
            "year": found.published.year,
            "accuracy": found.published.accuracy,
            "std": found.published.std,
            "marks": found.published.mark_text,
            "budget": found.published.budget,
            "note": found.published.note,
            "verdict": found.verdict,
            "reason": found.reason,
            "recipe_difference": found.recipe_difference,
            "difference": found.difference,
        }
        for found in comparisons(measured)
    ]


class _Relatives:
    """Cells to look at with one: its other seeds, the undefended one, the clean baseline."""

    def __init__(self, frame: pd.DataFrame) -> None:
        done = frame[frame["status"] == "done"]
        columns = [*COORDINATES, "attack", "defense"]
        self._rows = {
            key: tuple(values)
            for key, *values in frame[["key", *columns]].astype(object).itertuples(index=False, name=None)
        }
        self._by_place: dict[tuple[Any, ...], str] = {}
        self._seeds: dict[tuple[Any, ...], list[tuple[int, str]]] = {}
        for key in done["key"]:
            *place, seed, attack, defense = self._rows[key]
            self._seeds.setdefault(tuple(place), []).append((seed, key))
            if defense == "none":
                self._by_place[*place[:-1], seed] = key
                if attack == "none":
                    self._by_place[*place[:-2], "clean", seed] = key

    def of(self, key: str) -> dict[str, Any]:
        *place, seed, _, _ = self._rows[key]
        return {
            "seeds": [[int(other), name] for other, name in sorted(self._seeds.get(tuple(place), []))],
            "undefended": self._by_place.get((*place[:-1], seed)),
            "clean": self._by_place.get((*place[:-2], "clean", seed)),
        }


class _Artifacts:
    """Key of each stage's artifact, and from its manifest the checksum and the size of the data."""

    def __init__(self, stores: Sequence[Path]) -> None:
        self._stores = stores
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, cell: CellResult) -> dict[str, dict[str, Any]]:
        for pair in cell.artifacts.items():
            if pair not in self._known:
                self._known[pair] = self._read(*pair)
        return {pair[0]: self._known[pair] for pair in cell.artifacts.items()}

    def _read(self, stage: str, key: str) -> dict[str, Any]:
        for store in self._stores:
            path = Path(f"{store}/artifacts/{stage}/{key[:2]}/{key}/manifest.json")  # joining is slower, 60,000 times
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
                return {"key": key} | {name: manifest[name] for name in ("checksum", "data_bytes", "alias_of")}
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: damaged ({error}); `bench cache verify` lists such artifacts") from error
        return {"key": key}


def _plain(value: Any) -> Any:
    return None if formats.is_missing(value) else value


def _script(records: dict[str, Any]) -> bytes:
    """JSON as an argument; `<` is escaped, so that no name can end a script element."""
    text = json.dumps(records, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    return f"addCells({text});\n".encode()
