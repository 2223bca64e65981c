"""Is `fast` the same method as `paper`? Both on the same poisons, against the limits it was promised.

The rule: on clean images, EM, TAP, LSP and OPS, over three seeds, accuracy within 1 point, residual poison ratio within
0.05 and PSNR within 0.5 dB. What misses it is a variant, not the method.
"""

from __future__ import annotations

from statistics import mean
from typing import Any, NamedTuple

from gpu.targets import Slices

ATTACKS = ("none", "em", "tap", "lsp", "ops")
SEEDS = 3
LIMITS = {"clean_test_accuracy": 0.01, "residual_poison_ratio": 0.05, "purified_psnr_db": 0.5}

Cell = dict[str, Any]


class Pair(NamedTuple):
    """`paper` and `fast` for one attack and one defense, a cell each a seed."""

    paper: list[Cell]
    fast: list[Cell]

    def means(self, name: str) -> tuple[float | None, float | None]:
        """Of both, over the seeds; None where a cell has no value."""
        paper, fast = ([cell[name] for cell in cells] for cells in self)
        return _mean(paper), _mean(fast)

    def difference(self, name: str) -> float | None:
        """`fast` minus `paper`; None if neither has a value, infinite if one alone has."""
        paper, fast = self.means(name)
        if paper is None or fast is None:
            return None if paper == fast else float("inf")
        return round(fast - paper, 9)

    @property
    def verdict(self) -> str:
        if len(self.paper) < SEEDS:
            return f"not measured: {len(self.paper)} of {SEEDS} seeds"
        found = {name: self.difference(name) for name in LIMITS}
        return "within" if all(d is None or abs(d) <= LIMITS[name] for name, d in found.items()) else "outside"


def pairs(slices: Slices) -> dict[tuple[str, str], Pair]:
    """By defense and attack, the seeds of full size that both presets finished on the same poison."""
    found: dict[tuple[str, str, int], dict[str, Cell]] = {}
    for entry in slices.values():
        for cell in entry.get("cells", []) if entry["asked"]["scale"] == "full" else []:
            if cell["status"] == "done":
                place = cell["defense"], cell["attack"].split(":")[0], cell["seed"]
                found.setdefault(place, {})[cell["preset"]] = cell
    result: dict[tuple[str, str], Pair] = {}
    for (defense, attack, _), both in found.items():
        if {"paper", "fast"} <= both.keys() and len({cell["artifacts"]["poison"] for cell in both.values()}) == 1:
            pair = result.setdefault((defense, attack), Pair([], []))
            pair.paper.append(both["paper"])
            pair.fast.append(both["fast"])
    return result


def verdict(defense: str, found: dict[tuple[str, str], Pair]) -> str:
    """One attack outside the limits decides; else all five must have been measured."""
    each = {attack: found.get((defense, attack), Pair([], [])).verdict for attack in ATTACKS}
    outside = [attack for attack, what in each.items() if what == "outside"]
    if outside:
        return f"not accepted ({', '.join(outside)})"
    missing = [attack for attack, what in each.items() if what != "within"]
    return f"not measured: fewer than {SEEDS} seeds of {', '.join(missing)}" if missing else "accepted"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None
