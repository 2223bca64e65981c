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
from bench.store.results import CellResult, Component
from bench.store.scores import BANDS
from leaderboard.export.command_lines import reproduce_command
from leaderboard.published.values import comparisons, measured_of
from leaderboard.site.comparison_table import comparison_row
from leaderboard.site.contact_sheet import REMEDY
from leaderboard.site.phase_names import phase_in_words, when
from leaderboard.site.sheets import Sheet, Sheets
from leaderboard.tables.cell_rows import cell_row
from leaderboard.tables.columns import COORDINATES
from leaderboard.tables.datasets import data_names

_CHARGED = {
    "purify_seconds": "purification",
    "extra_train_seconds": "extra training",
    "view_seconds": "view of the test images",
    "cost_seconds": "cost: what the defender pays",
}
_COMPARED = ("recovery", "cost_multiple")
_EXCLUSIVE = {True: "yes", False: "no", None: "unknown"}


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
    rows = frame.set_index("key")[[*_COMPARED, *_CHARGED]].astype(object).to_dict("index")
    relatives = _Relatives(frame)
    data = dict(zip(frame["key"], data_names(frame), strict=True))
    artifacts = _Artifacts(stores)
    elsewhere: dict[str, list[CellResult]] = {}
    for cell in repeated:
        elsewhere.setdefault(cell.key, []).append(cell)
    chunks: dict[str, dict[str, Any]] = {}
    for cell in sorted(cells, key=lambda cell: cell.key):
        others = elsewhere.get(cell.key, [])
        record = _record(cell) | {
            "data": data[cell.key],
            "headline": _headline(cell, rows[cell.key], relatives.accuracies(cell.key)),
            "charged": [[name, formats.seconds(rows[cell.key][column])] for column, name in _CHARGED.items()],
            "costs": _cost_rows(cell, others),
            "relatives": relatives.of(cell.key),
            "artifacts": artifacts.of(cell),
            "disagreeing": [
                formats.percent(other.clean_test_accuracy)
                for other in others
                if other.clean_test_accuracy != cell.clean_test_accuracy
            ],
            "published": _published(cell),
            "sheet": _sheet(sheets.by_cell.get(cell.key)),
        }
        chunks.setdefault(chunk_name(cell.key), {})[cell.key] = record
    return {f"cells/{name}.js": _script(records) for name, records in sorted(chunks.items())}


def chunk_name(key: str) -> str:
    """The file of a key; `cell.js` computes the same."""
    return key[:2] if re.fullmatch(r"[0-9a-f]{2}", key[:2]) else "other"


def _record(cell: CellResult) -> dict[str, Any]:
    names = ("key", "status", "preset", "dataset", "seed", "precision", "provenance", "error")
    return {
        **{name: getattr(cell, name) for name in names},
        **{kind: _component(getattr(cell, kind)) for kind in ("attack", "defense", "victim")},
        "curve": _columns(cell.curve),
        "scores": _scores(cell),
        "spectrum": _spectrum(cell.scores),
        "logs": [[stage, name, _words(value)] for stage, log in cell.logs.items() for name, value in log.items()],
        "reproduce": reproduce_command(cell),
    }


def _spectrum(scores: Mapping[str, float | None]) -> dict[str, list[tuple[str, float]]]:
    """Shares of the perturbation's energy by band and by channel, each with its label; empty if not measured."""
    bands = {f"poison_band_{n}": f"{low:g}–{high:g}" for n, (low, high) in enumerate(BANDS, start=1)}
    channels = {f"poison_channel_{n}": color for n, color in enumerate(("red", "green", "blue"), start=1)}
    return {
        title: [(label, value) for name, label in labels.items() if (value := scores.get(name)) is not None]
        for title, labels in (("cycles per pixel", bands), ("channel", channels))
    }


def _scores(cell: CellResult) -> dict[str, str]:
    """Measured scores as text; without those of a purification where the defense has none: they are the poison's."""
    purifies = cell.defense.extra.get("purifies", True)
    shown = {n: v for n, v in cell.scores.items() if v is not None and (purifies or n.startswith(("poison", "victim")))}
    return {name: formats.setting(v) if name == "poison_linf_max" else _words(v) for name, v in shown.items()}


def _component(component: Component) -> dict[str, Any]:
    shown = {name: formats.setting(getattr(component, name)) for name in ("parameters", "extra")}
    return vars(component) | shown


def _headline(cell: CellResult, row: Mapping[str, Any], baselines: Mapping[str, Any]) -> dict[str, str]:
    """Numbers of the tiles, as text; "" for a multiple that is unknown."""
    percents = {"accuracy": cell.clean_test_accuracy, **baselines}
    return {
        **{name: formats.DASH if formats.is_missing(v) else f"{formats.percent(v)} %" for name, v in percents.items()},
        "images": formats.DASH if cell.test_images is None else f"{cell.test_images:,}",
        "recovery": formats.ratio(row["recovery"]),
        "cost": formats.seconds(row["cost_seconds"]),
        "multiple": "" if formats.is_missing(row["cost_multiple"]) else formats.multiple(row["cost_multiple"]),
    }


def _cost_rows(cell: CellResult, others: Sequence[CellResult]) -> list[list[str]]:
    """Rows of the table of costs, this cell's own first: each stage whole, then its phases."""
    rows = []
    for result, whole in ((cell, "whole stage"), *((other, "in another store, not used") for other in others)):
        for stage, cost in result.costs.items():
            runs = f", {formats.runs(cost.repeats, cost.pays_once)}" if cost.repeats else ""
            sizes = (formats.size(cost.peak_gpu_bytes), formats.size(cost.peak_host_bytes))
            spent = (formats.seconds(cost.wall_seconds), *sizes, formats.joules(cost.energy_joules))
            created = cost.created.replace("T", " ").replace("+00:00", " UTC")
            rows.append([stage, whole + runs, *spent, cost.device, _EXCLUSIVE[cost.exclusive], created])
            for phase, seconds in sorted(cost.phases.items(), key=lambda item: when(item[0])):
                energy = formats.joules(cost.phase_joules.get(phase))
                rows.append(["", phase_in_words(phase), formats.seconds(seconds), "", "", energy, "", "", ""])
    return rows


def _columns(curve: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    """Records per epoch as one list per quantity, with six decimals: a third of the size."""
    names = list(dict.fromkeys(name for point in curve for name in point))
    return {name: [None if (v := point.get(name)) is None else round(v, 6) for point in curve] for name in names}


def _published(cell: CellResult) -> list[dict[str, str]]:
    row = cell_row(cell)
    return [asdict(comparison_row(found)) for found in comparisons(measured_of(row, row["clean_test_accuracy"], None))]


def _sheet(sheet: Sheet | None) -> dict[str, Any] | None:
    """The contact sheet with its PSNRs as text."""
    if sheet is None:
        return None
    whole = {"poisoned": sheet.poison_psnr_db, "purified": sheet.purified_psnr_db}
    each = {"poisoned": sheet.each_poison_psnr_db, "purified": sheet.each_purified_psnr_db}
    return {
        "strips": sheet.strips,
        "images": sheet.images,
        "whole": {
            name: "equal to the clean images" if value is None else f"PSNR {formats.decibels(value)}"
            for name, value in whole.items()
        },
        "each": {name: [formats.decibels(value) for value in values] for name, values in each.items()},
    }


class _Relatives:
    """Cells to look at with one: its other seeds, the undefended one, the clean baseline."""

    def __init__(self, frame: pd.DataFrame) -> None:
        done = frame[frame["status"] == "done"]
        self._accuracy = dict(zip(done["key"], done["clean_test_accuracy"], strict=True))
        columns = [*COORDINATES, "attack", "defense"]
        self._rows = {
            key: tuple(values)
            for key, *values in frame[["key", *columns]].astype(object).itertuples(index=False, name=None)
        }
        self._by_coordinates: dict[tuple[Any, ...], str] = {}
        self._seeds: dict[tuple[Any, ...], list[tuple[int, str]]] = {}
        for key in done["key"]:
            *coordinates, seed, attack, defense = self._rows[key]
            self._seeds.setdefault(tuple(coordinates), []).append((seed, key))
            if defense == "none":
                self._by_coordinates[*coordinates[:-1], seed] = key
                if attack == "none":
                    self._by_coordinates[*coordinates[:-2], "clean", seed] = key

    def of(self, key: str) -> dict[str, Any]:
        *coordinates, seed, _, _ = self._rows[key]
        return {
            "seeds": [[int(other), name] for other, name in sorted(self._seeds.get(tuple(coordinates), []))],
            "undefended": self._by_coordinates.get((*coordinates[:-1], seed)),
            "clean": self._by_coordinates.get((*coordinates[:-2], "clean", seed)),
        }

    def accuracies(self, key: str) -> dict[str, Any]:
        """Of the undefended cell and the clean baseline; a failed cell has them too."""
        found = self.of(key)
        return {name: self._accuracy.get(found[name]) for name in ("undefended", "clean")}


class _Artifacts:
    """Key of each stage's artifact, and from its manifest the checksum and the size of the data."""

    def __init__(self, stores: Sequence[Path]) -> None:
        self._stores = stores
        self._known: dict[tuple[str, str], tuple[str, str]] = {}

    def of(self, cell: CellResult) -> list[list[str]]:
        """Rows of the table of artifacts: stage, key, checksum or the artifact it is the same as, size."""
        for pair in cell.artifacts.items():
            if pair not in self._known:
                self._known[pair] = self._read(*pair)
        return [[*pair, *self._known[pair]] for pair in cell.artifacts.items()]

    def _read(self, stage: str, key: str) -> tuple[str, str]:
        for store in self._stores:
            path = Path(f"{store}/artifacts/{stage}/{key[:2]}/{key}/manifest.json")  # joining is slower, 60,000 times
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
                if manifest["alias_of"]:
                    return f"same as {manifest['alias_of']}", ""
                return manifest["checksum"] or formats.DASH, formats.size(manifest["data_bytes"])
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: damaged ({error}); {REMEDY}") from error
        return formats.DASH, formats.DASH


def _words(value: Any) -> str:
    """A logged value: numbers and text as they are read, lists of them with commas, anything else as JSON."""
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, (bool, dict)):
        return json.dumps(value)
    return formats.number(value)


def _script(records: dict[str, Any]) -> bytes:
    """JSON as an argument; `<` is escaped, so that no name can end a script element."""
    text = json.dumps(records, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    return f"addCells({text});\n".encode()
