"""`bench check NAME`: the contract tests of one plug-in on a tiny set."""

from __future__ import annotations

import sys
import textwrap
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.check.contracts import CONTRACTS, Contract
from bench.datasets import loading
from bench.datasets.splits import Splits
from bench.errors import ContractError, UserError, unknown
from bench.registry import BY_KIND, load_plugin
from bench.registry.source import modules_of
from bench.select.grammar import split
from bench.select.settings import demo_parameters
from bench.select.spec import Defaults, Selected, select

_NO_PAPER = 'name it in register(..., source="arXiv:2301.13838"), or where the method comes from'
TINY = "shapes:train=96:test=32"


def tiny() -> Splits:
    """A tiny set of one's own: a plug-in that writes into it harms nobody else."""
    shared = loading.load(TINY, Path())
    train, test = (replace(part, images=part.images.clone()) for part in (shared.train, shared.test))
    return Splits(train, test)


def quick_defaults(kind: str) -> Defaults:
    """The demo preset's parameters with one epoch: a check is not a benchmark."""
    defaults: dict[str, dict[str, Any]] = {n: dict(v) for n, v in demo_parameters().get(kind, {}).items()}
    for name, entry in BY_KIND[kind].items():
        if "epochs" in entry.parameters and kind != "victims":
            defaults[name] = {**defaults.get(name, {}), "epochs": 1}
    return defaults


def check_component(text: str, plugins: tuple[Path, ...], kind: str | None) -> int:
    """Runs and prints the checks; returns 0 if all hold, else 1.

    Raises:
        UserError: for a name that no registry has, or several have.
    """
    for plugin in plugins:
        load_plugin(plugin)
    kind = kind or _kind_of(split(text)[0].partition(":")[0])
    console = Console(highlight=False)
    failures = 0
    for selected in select(BY_KIND[kind], text, quick_defaults(kind)):
        console.print(f"[bold]{kind[:-1]} {selected.text}[/bold]")
        for contract in CONTRACTS[kind]:
            promise = contract.name.replace("_", " ")
            start = time.perf_counter()
            applies, problem = _run(contract, selected, tiny())
            if not applies:
                console.print(f"  n/a  {promise}", style="dim")
                continue
            mark = "[red]FAIL[/red]" if problem else "[green]ok[/green]  "
            console.print(f"  {mark} {promise} ({time.perf_counter() - start:.1f} s)")
            if problem:
                failures += 1
                console.print(textwrap.indent(problem, 7 * " "), markup=False, style="red", soft_wrap=True)
        if not selected.entry.source and kind != "victims":
            console.print(f"  note the board shows no paper: {_NO_PAPER}", soft_wrap=True)
    console.print("all contracts that apply hold" if not failures else f"{failures} broken")
    return 1 if failures else 0


def _run(contract: Contract, selected: Selected, splits: Splits) -> tuple[bool, str]:
    """True if the contract is about this plug-in, and the reason why it is broken, or ""."""
    try:
        if not contract.applies(selected):
            return False, ""
        contract.check(selected, splits)
    except ContractError as error:
        return True, str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # research code calls sys.exit, or has exceptions outside of Exception
        return True, _raised(error, selected)
    return True, ""


def _raised(error: BaseException, selected: Selected) -> str:
    """A sentence, and the lines of the plug-in that led there: the frames of the core tell its author nothing."""
    modules = (sys.modules.get(name) for name in modules_of(selected.entry.cls.__module__))
    files = {getattr(module, "__file__", None) for module in modules}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    lines = [f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}: {frame.line}" for frame in frames]
    return "\n".join([f"raises {type(error).__name__}: {error}", *lines])


def _kind_of(name: str) -> str:
    found = [kind for kind in CONTRACTS if name in BY_KIND[kind] or name in BY_KIND[kind].groups()]
    if len(found) > 1:
        raise UserError(f"{name!r} is the name of several kinds: {', '.join(found)}; choose with --kind")
    if found:
        return found[0]
    try:
        BY_KIND["victims"].find(name)
    except UserError:
        broken = " ".join(problem for kind in CONTRACTS for problem in BY_KIND[kind].broken.values())
        raise unknown("plug-in", name, [n for kind in CONTRACTS for n in BY_KIND[kind]], broken, plugin=True) from None
    return "victims"
