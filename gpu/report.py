"""From the JSON file to the tables of `docs/measurements.md`, between two marks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from bench.errors import UserError
from bench.select import presets
from bench.store.results import write_json
from gpu import acceptance, cells
from gpu.scale import FULL, TOY
from gpu.targets import CARD, Slices, devices, targets

SCHEMA_VERSION = 2
BEGIN, END = "<!-- from docs/gpu.json by `python -m gpu --render` -->", "<!-- end -->"
LIMIT = 540  # seconds of a slice

_WHAT = {
    "rates/training": "victim, training",
    "rates/training-large-batch": "the same, four times the batch",
    "rates/training-graph": "the same, CUDA graphs",
    "rates/training-compiled": "the same, compiled",
    "rates/training-deterministic": "the same, deterministic",
    "rates/dvae": "D-VAE, training of both stages",
    "rates/dvae-graph": "the same, CUDA graphs",
    "rates/dvae-compiled": "the same, compiled",
    "rates/at": "adversarial training, ten steps",
    "rates/at-graph": "the same, CUDA graphs",
    "rates/at-compiled": "the same, compiled",
    "rates/pgd": "PGD, one gradient each",
}
_DIFFERENCES = {"clean_test_accuracy": "{:+.2%}", "residual_poison_ratio": "{:+.3f}", "purified_psnr_db": "{:+.2f}"}


def read(path: Path) -> Slices:
    """The slices measured so far, in the order of the tables; none if there is no file."""
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it, or restore it") from error
    if raw.get("schema_version") != SCHEMA_VERSION:
        found = raw.get("schema_version")
        raise UserError(f"{path}: schema version {found}, expected {SCHEMA_VERSION}; give another --out, or delete it")
    slices: Slices = raw["slices"]
    seeds = 1 + max((int(name.split("/")[3]) for name in slices if name not in _WHAT), default=0)
    order = [*_WHAT, *cells.names(FULL, seeds), *cells.names(TOY, seeds)]
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
    tables = (
        (name.split("/")[0], entry["asked"].get("precision", "")) for name, entry in slices.items() if "cells" in entry
    )
    parts += [_accuracies(preset, precision, slices) for preset, precision in dict.fromkeys(tables)]
    parts.append(_acceptance(slices))
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
    sizes = {entry["asked"]["scale"] for entry in slices.values()}
    toy = " Toy sizes: they show that the script works and nothing else." if "toy" in sizes else ""
    return f"Machine: {'; and: '.join(lines)}. Random images for the rates.{toy}"


def _targets(slices: Slices) -> str:
    rows = [
        (
            t.what,
            f"{t.goal:g}",
            "-" if t.seconds is None else f"{t.seconds:.0f}",
            t.verdict,
            f"{t.basis}{f' on {_all(t.devices)}' if t.devices else ''}",
        )
        for t in targets(slices)
    ]
    return f"Targets for an {CARD}:\n\n" + _table(("50,000 images", "target, s", "s", "verdict", "basis"), rows)


def _rates(rates: Slices) -> str:
    rows = []
    for name, entry in rates.items():
        rate = entry.get("rate")
        if rate is None:
            rows.append((_WHAT[name], "failed", "-", "-", "-", "-"))
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
                cost["device"],
            )
        )
    return _table(("rate", "images/s", "share of bf16 peak", "rehearsal, s", "mean power, W", "on"), rows)


def _accuracies(preset: str, precision: str, slices: Slices) -> str:
    here = [
        entry
        for name, entry in slices.items()
        if name.startswith(f"{preset}/") and entry["asked"].get("precision", "") == precision
    ]
    every = [cell for entry in here for cell in entry.get("cells", [])]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in every:
        found.setdefault((cell["defense"], cell["attack"].split(":")[0]), []).append(cell)
    attacks = list(dict.fromkeys(attack for _, attack in found))
    rows = []
    for defense in dict.fromkeys(cell["defense"] for cell in every):
        group = [found.get((defense, attack), []) for attack in attacks]
        purify = [c["costs"]["purify"]["wall_seconds"] for some in group for c in some if "purify" in c["costs"]]
        rows.append((defense, *map(_accuracy, group), f"{max(purify):.1f}" if purify else "-"))
    counts = sorted({cell["test_images"] for cell in every if cell["test_images"]})
    mark = " (unvalidated)" if preset in presets.unvalidated() else ""
    seeds = ", ".join(str(seed) for seed in sorted({cell["seed"] for cell in every}))
    images = " and ".join(f"{count:,}" for count in counts) or "0"
    data = _all(sorted({cell["dataset"] for cell in every}))
    about = (
        f"`{preset}`{mark}, {data}, {every[0]['victim']}, seeds {seeds}, n = {images} test images per cell, "
        f"on {_all(devices(every)) or 'nothing'}. Clean test accuracy, %, mean over seeds (how many):"
    )
    return f"{about}\n\n" + _table(("defense", *attacks, "slowest purification, s"), rows)


def _accuracy(cells: list[dict[str, Any]]) -> str:
    known = [cell["clean_test_accuracy"] for cell in cells if cell["clean_test_accuracy"] is not None]
    if known:
        return f"{100 * mean(known):.1f} ({len(known)})"
    return "failed" if cells else "-"


def _acceptance(slices: Slices) -> str:
    """`fast` against `paper`, a verdict a defense, and the figures behind it."""
    found = acceptance.pairs(slices)
    rows = []
    for (defense, attack), pair in found.items():
        shown = [_number(accuracy, "{:.1%}") for accuracy in pair.means("clean_test_accuracy")]
        differences = [_number(pair.difference(name), text) for name, text in _DIFFERENCES.items()]
        rows.append((defense, attack, *shown, *differences, pair.verdict))
    named = {
        "none": "victim, undefended",
        "dvae": "dvae",
        **{defense: defense for defense, _ in found if defense != "none"},
    }
    verdicts = "\n".join(f"- {name}: {acceptance.verdict(defense, found)}" for defense, name in named.items())
    accuracy, ratio, psnr = acceptance.LIMITS.values()
    about = (
        f"`fast` against `paper`: accepted if, over {acceptance.SEEDS} seeds and for each of "
        f"{', '.join(acceptance.ATTACKS)}, the means differ by at most {100 * accuracy:g} point of accuracy, {ratio:g} "
        f"of residual poison ratio and {psnr:g} dB of PSNR. Both presets get the same poisons, crafted with the "
        "settings of `fast`: what `fast` does to the attacks themselves is not validated by this, nor is `at`."
    )
    head = ("defense", "attack", "`paper`, %", "`fast`, %", "points", "residual poison ratio", "PSNR, dB", "limits")
    return "\n\n".join([about, verdicts, *([_table(head, rows)] if rows else [])])


def _number(value: float | None, text: str) -> str:
    return "-" if value is None else text.format(value).rstrip("%")  # the unit is in the head


def _all(names: Iterable[str]) -> str:
    return "; and ".join(names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
