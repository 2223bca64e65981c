"""From the JSON file to the tables of `docs/measurements.md`, between two marks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.results import write_json
from gpu import cells
from gpu.scale import FULL, TOY
from gpu.targets import Slices, targets

SCHEMA_VERSION = 1
BEGIN, END = "<!-- from docs/gpu.json by `python -m gpu --render` -->", "<!-- end -->"
LIMIT = 540  # seconds of a slice

_WHAT = {
    "rates/training": "victim, training",
    "rates/training-large-batch": "the same, four times the batch",
    "rates/training-compiled": "the same, compiled",
    "rates/training-deterministic": "the same, deterministic",
    "rates/dvae": "D-VAE, training of both stages",
    "rates/dvae-compiled": "the same, compiled",
    "rates/at": "adversarial training, ten steps",
    "rates/at-compiled": "the same, compiled",
    "rates/pgd": "PGD, one gradient each",
}


def read(path: Path) -> Slices:
    """The slices measured so far, in the order of the tables; none if there is no file."""
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it, or restore it") from error
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path}: schema version {raw.get('schema_version')}, expected {SCHEMA_VERSION}")
    slices: Slices = raw["slices"]
    order = [*_WHAT, *cells.names(FULL), *cells.names(TOY)]
    return {name: slices[name] for name in order if name in slices}


def merge(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Puts one slice into the file, which is replaced as a whole."""
    write_json(path, {"schema_version": SCHEMA_VERSION, "slices": {**read(path), name: entry}})


def render(slices: Slices) -> str:
    """All tables as Markdown."""
    parts = [_machines(slices), _targets(slices)]
    rates = {name: slices[name] for name in _WHAT if name in slices}
    if rates:
        parts.append(_rates(rates))
    for preset in dict.fromkeys(name.split("/")[0] for name, entry in slices.items() if "cells" in entry):
        parts.append(_accuracies(preset, slices))
    slow = [f"`{name}`" for name, entry in slices.items() if entry["seconds"] > LIMIT]
    failed = [f"`{name}` ({entry['error']})" for name, entry in slices.items() if "error" in entry]
    parts += [f"Longer than nine minutes: {', '.join(slow)}."] if slow else []
    parts += [f"Failed: {', '.join(failed)}."] if failed else []
    return "\n\n".join(parts) + "\n"


def write_section(page: Path, slices: Slices) -> None:
    """Replaces what is between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or END not in text.split(BEGIN)[1]:
        raise UserError(f"{page}: the marks {BEGIN} and {END} are missing; put them where the tables belong")
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{render(slices)}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def _machines(slices: Slices) -> str:
    if not slices:
        return "No GPU has run `make gpu` yet."
    keys = ("device", "torch", "cuda", "python")
    found = dict.fromkeys(tuple(entry["environment"].get(key) for key in keys) for entry in slices.values())
    lines = [
        f"{device}; torch {torch}{f', CUDA {cuda}' if cuda else ''}, Python {python}"
        for device, torch, cuda, python in found
    ]
    sizes = {entry["scale"] for entry in slices.values()}
    toy = " Toy sizes: they show that the script works and nothing else." if "toy" in sizes else ""
    return f"Machine: {'; and: '.join(lines)}. Random images for the rates; one seed for accuracies.{toy}"


def _targets(slices: Slices) -> str:
    rows = [
        (t.what, f"{t.goal:g}", "-" if t.seconds is None else f"{t.seconds:.0f}", t.verdict, t.basis)
        for t in targets(slices)
    ]
    return _table(("50,000 images", "target, s", "s", "verdict", "basis"), rows)


def _rates(rates: Slices) -> str:
    rows = []
    for name, entry in rates.items():
        rate = entry.get("rate")
        if rate is None:
            rows.append((_WHAT[name], "failed", "-", "-", "-"))
            continue
        share, cost = rate.get("share_of_bf16_peak"), rate["cost"]
        joules = cost["energy_joules"]
        rows.append(
            (
                _WHAT[name],
                f"{rate['per_second']:,.0f}",
                "-" if share is None else f"{100 * share:.1f} %",
                f"{cost['phases']['warm']:.1f}" if "warm" in cost["phases"] else "-",
                "-" if joules is None else f"{joules / cost['wall_seconds']:.0f}",
            )
        )
    return _table(("rate", "images/s", "share of bf16 peak", "compiling, s", "mean power, W"), rows)


def _accuracies(preset: str, slices: Slices) -> str:
    done = [c for name, entry in slices.items() if name.startswith(f"{preset}/") for c in entry.get("cells", [])]
    attacks = list(dict.fromkeys(cell["attack"].split(":")[0] for cell in done))
    found = {(cell["defense"], cell["attack"].split(":")[0]): cell for cell in done}
    rows = []
    for defense in dict.fromkeys(cell["defense"] for cell in done):
        shown = [_accuracy(found.get((defense, attack))) for attack in attacks]
        purify = [found[defense, a]["costs"]["purify"]["wall_seconds"] for a in attacks if _done(found, defense, a)]
        rows.append((defense, *shown, f"{max(purify):.1f}" if purify else "-"))
    counts = sorted({cell["test_images"] for cell in done if cell["test_images"]})
    about = f"`{preset}`, {done[0]['victim']}, n = {' and '.join(f'{n:,}' for n in counts) or 0} test images a cell."
    return f"{about} Clean test accuracy, %:\n\n" + _table(("defense", *attacks, "slowest purification, s"), rows)


def _done(found: dict[tuple[str, str], dict[str, Any]], defense: str, attack: str) -> bool:
    return (defense, attack) in found and "purify" in found[defense, attack]["costs"]


def _accuracy(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    accuracy = cell["clean_test_accuracy"]
    return "failed" if accuracy is None else f"{100 * accuracy:.1f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
