"""`bench doctor`: whether this machine is ready for a run, and the next step if it is not."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
import torch
from packaging.requirements import Requirement
from rich.console import Console

from bench.api.engine import Engine
from bench.formats import counted, device
from bench.measure.cost import device_name
from bench.store.artifacts import Store

_GIB = 2**30
_LEAST_DISK = 5 * _GIB  # a CIFAR-10 matrix of the preset `paper` stores about 150 MB per poisoned or purified set
_LEAST_MEMORY = 4 * _GIB  # CIFAR-10 and PyTorch
_DATA = {
    "cifar10": ("cifar-10-batches-py", 170),
    "cifar100": ("cifar-100-python", 169),
    "svhn": ("train_32x32.mat", 250),
    "imagenet100": ("imagenet100", None),
}


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        state: `ok`; `note`, a run works but the user should know; `problem`, a run would fail.
        text: the finding.
        remedy: what to do about it, or "".
    """

    state: Literal["ok", "note", "problem"]
    text: str
    remedy: str = ""


def examine(root: Path, data_root: Path) -> int:
    """Prints every finding, then `ready` or the next step; returns 0 if a run can start, else 1.

    Args:
        root: folder of the store, which need not exist.
        data_root: folder of downloaded data, likewise.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        packages,
        gpu,
        processor,
        memory,
        lambda: folder(root, "store"),
        lambda: folder(data_root, "data root"),
        lambda: data_sets(data_root),
        clock,
        lambda: store_health(root),
    ]
    findings = [finding for check in checks for finding in check()]
    console = Console(highlight=False)
    for finding in findings:
        style = {"ok": "green", "note": "yellow", "problem": "red"}[finding.state]
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        console.print(f"[{style}]{finding.state:7}[/{style}] ", end="")
        console.print(f"{finding.text}{remedy}", markup=False, soft_wrap=True)
    problems = [finding for finding in findings if finding.state == "problem"]
    console.print(f"next step: {problems[0].remedy}" if problems else "ready", style="bold", soft_wrap=True)
    return 1 if problems else 0


def packages() -> Iterator[Finding]:
    """Every dependency against the lower bound and against the version that the tests ran with."""
    tested = _tested_versions()
    other, broken = [], []
    for text in metadata.requires("purify-bench") or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            broken.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            broken.append(f"{requirement.name} {found} is not {requirement.specifier}")
        wanted = tested.get(requirement.name.lower())
        if wanted and found.partition("+")[0] != wanted:
            other.append(f"{requirement.name} {found} ({wanted})")
    if broken:
        yield Finding("problem", f"packages: {', '.join(broken)}", "pip install -U purify-bench")
    if other:
        yield Finding("note", f"packages other than the tested versions (in brackets): {', '.join(other)}")
    if not broken and not other:
        yield Finding("ok", f"packages: torch {torch.__version__}; all are the tested versions")


def _tested_versions() -> dict[str, str]:
    """From constraints.txt, in the package or, in a checkout, next to it."""
    here = Path(__file__).parents[1]
    path = next((p for p in (here / "constraints.txt", here.parent / "constraints.txt") if p.is_file()), None)
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines) if version}


def gpu() -> Iterator[Finding]:
    """CUDA devices with driver and free memory; why there is none, if a driver is there."""
    driver = _driver()
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            text = (
                f"GPU {index}: {name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free, driver {driver or 'unknown'}"
            )
            text += f", precision {Engine.choose(f'cuda:{index}').precision}"
            busy = free < 0.8 * total
            yield Finding("note" if busy else "ok", text, "other processes use it: costs will not rank" if busy else "")
        return
    if driver and torch.version.cuda is None:
        yield Finding("note", f"NVIDIA driver {driver}, but this PyTorch has no CUDA", "install a CUDA build of torch")
    elif driver:
        remedy = "update the driver, or check CUDA_VISIBLE_DEVICES"
        yield Finding("note", f"NVIDIA driver {driver}, but PyTorch (CUDA {torch.version.cuda}) sees no GPU", remedy)
    else:
        yield Finding("note", "no GPU: runs use the CPU (preset demo) in float32; energy is not measured")


def _driver() -> str:
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # no library, no driver, or a driver of another version: there is none to speak of
        return ""


def processor() -> Iterator[Finding]:
    """Cores, and whether other processes keep them busy."""
    cores = os.cpu_count() or 1
    text = f"CPU: {device(device_name(torch.device('cpu')))}; {counted(cores, 'core')}"
    share = psutil.cpu_percent(interval=0.2) / 100
    if share > 0.25:
        yield Finding("note", f"{text}, {share:.0%} busy", "stop other programs: costs will not rank")
    else:
        yield Finding("ok", text)


def memory() -> Iterator[Finding]:
    """Free memory."""
    found = psutil.virtual_memory()
    text = f"memory: {found.available / _GIB:.1f} of {found.total / _GIB:.1f} GiB free"
    if found.available < _LEAST_MEMORY:
        yield Finding("note", text, f"CIFAR-10 needs about {_LEAST_MEMORY / _GIB:.0f} GiB; the preset demo needs less")
    else:
        yield Finding("ok", text)


def folder(path: Path, what: str) -> Iterator[Finding]:
    """Checks that a folder can be made or written, and the space on its disk."""
    nearest = path.resolve()
    while not nearest.is_dir():
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        remedy = f"give another folder with --{what.replace(' ', '-')}"
        yield Finding("problem", f"{what} {path}: cannot be written ({error.strerror})", remedy)
        return
    free = shutil.disk_usage(nearest).free
    text = f"{what} {path}: writable, {free / _GIB:.0f} GiB free"
    if free < _LEAST_DISK:
        yield Finding("note", text, f"a CIFAR-10 matrix stores several GB: free {_LEAST_DISK / _GIB:.0f} GiB")
    else:
        yield Finding("ok", text)


def data_sets(data_root: Path) -> Iterator[Finding]:
    """Data sets that are there, and the steps that the others need."""
    here = [name for name, (file, _) in _DATA.items() if (data_root / file).exists()]
    absent = [
        f"{name} ({f'{size} MB are downloaded at first use' if size else 'you must provide it'})"
        for name, (_, size) in _DATA.items()
        if name not in here
    ]
    yield Finding("ok", f"data: shapes (embedded){''.join(f', {name}' for name in here)}")
    if absent:
        yield Finding("note", f"data not there: {', '.join(absent)}")


def clock() -> Iterator[Finding]:
    """The clock that times stages, and whether the date is plausible."""
    resolution = time.get_clock_info("perf_counter").resolution
    with tempfile.NamedTemporaryFile() as file:
        skew = abs(os.stat(file.name).st_mtime - time.time())
    if time.gmtime().tm_year < 2025:
        yield Finding("note", f"date: {time.strftime('%Y-%m-%d')}", "set the clock: every measurement carries its date")
    elif skew > 60:
        yield Finding("note", f"clock: files are {skew:.0f} s off the system's time", "synchronise the clocks")
    else:
        yield Finding("ok", f"clock: {time.strftime('%Y-%m-%d %H:%M')}, resolution {resolution:.0e} s")


def store_health(root: Path) -> Iterator[Finding]:
    """Cells and artifacts of the store, and whether they are sound."""
    if not (root / "store.json").is_file():
        yield Finding("ok", f"store {root}: none yet; `bench run` makes it")
        return
    store = Store(root)
    states = [store.state(stage, key) for stage, key in store.artifacts()]
    cells = len(list(store.cells.glob("*.json")))
    damaged = states.count("damaged")
    text = f"store {root}: {counted(cells, 'cell')}, {counted(len(states), 'artifact')}, {damaged} damaged"
    yield Finding("note" if damaged else "ok", text, "the next run computes them again" if damaged else "")
