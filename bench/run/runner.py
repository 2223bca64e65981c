"""Runs a plan: three waves of jobs, a cell's file as soon as its training is done; continues after failures."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.api.engine import Engine
from bench.datasets import loading
from bench.errors import UserError
from bench.plan import Plan, PlannedCell, describe, make_plan
from bench.registry import executors
from bench.run.executors import Executor, Watcher
from bench.select.config import Settings, Table, make_matrix
from bench.select.spec import select
from bench.stages.jobs import STAGES, Job, Report
from bench.store.artifacts import DamagedArtifactError, Store
from bench.store.results import CellResult, Manifest, write_cell

if TYPE_CHECKING:
    import pandas as pd


class Observer(Watcher, Protocol):
    """The progress display: a watcher that also hears of waves, ends and damaged artifacts."""

    def planned(self, plan: Plan) -> None:
        """Before the first job."""
        ...

    def ended(self, job: Job, report: Report) -> None:
        """A job ended, well or not."""
        ...


class Silent:
    """An observer that shows nothing."""

    def planned(self, plan: Plan) -> None: ...
    def started(self, job: Job) -> None: ...
    def advanced(self, done: int, total: int, note: str) -> None: ...
    def ended(self, job: Job, report: Report) -> None: ...


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        cells: all cells of the matrix, in its order.
        computed: number of jobs run by stage.
        reused: number of artifacts found in the store by stage.
        repaired: damaged artifacts that were made again, as `stage key`.
    """

    cells: list[CellResult]
    computed: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    repaired: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[CellResult]:
        """Cells in which a stage failed."""
        return [cell for cell in self.cells if cell.status == "failed"]

    @property
    def skipped(self) -> list[CellResult]:
        """Cells that are impossible on this data set."""
        return [cell for cell in self.cells if cell.status == "skipped"]


def run_plan(plan: Plan, store: Store, executor: Executor, observer: Observer, command: str = "") -> Outcome:
    """Runs what the store lacks and writes one file per cell; nothing computed is lost if it is interrupted.

    The caller holds `store.in_use()` since before the plan was made. Of a store that is read-only, a matrix that is
    finished can be read.

    Raises:
        UserError: if the store is read-only and lacks something, or if it lost an artifact during the run.
    """
    lacking = sum(len(plan.pending(stage)) for stage in STAGES)
    if store.read_only and lacking:
        raise UserError(
            f"store {store.root} is read-only and lacks {lacking} of {len(plan.jobs)} artifacts of this matrix; "
            "copy it to a folder that can be written, and give that with --store"
        )
    if store.read_only:
        cells = [_result(cell, plan, store, {}, command) for cell in plan.cells] + _skipped(plan, command)
        return Outcome(cells, reused=Counter(job.stage for job in plan.jobs.values()))
    outcome = Outcome([])
    for key, state in plan.states.items():
        job = plan.jobs[key]
        outcome.reused[job.stage] += state == "valid"
        if state == "damaged":
            outcome.repaired.append(f"{job.stage} {key[:12]}")
    errors: dict[str, dict[str, str]] = {}
    waiting = {cell.jobs["train"]: [] for cell in plan.cells}  # type: dict[str, list[PlannedCell]]
    for cell in plan.cells:
        waiting[cell.jobs["train"]].append(cell)
    store.begin_plan(plan.name, ((job.stage, key) for key, job in plan.jobs.items()))
    observer.planned(plan)
    for cell in plan.cells:
        if all(plan.states[key] == "valid" for key in cell.jobs.values()):
            write_cell(store.cells, _result(cell, plan, store, errors, command))
    for stage in STAGES:
        ready = [job for job in plan.pending(stage) if not any(key in errors for key in job.inputs.values())]
        jobs = {job.key: job for job in ready}
        for report in _until_interrupted(executor.run(ready, observer)):
            outcome.computed[stage] += 1
            if report.status == "failed":
                errors[report.key] = report.error
            observer.ended(jobs[report.key], report)
            if stage == "train":
                for cell in waiting[report.key]:
                    write_cell(store.cells, _result(cell, plan, store, errors, command))
    outcome.cells = [_result(cell, plan, store, errors, command) for cell in plan.cells] + _skipped(plan, command)
    for result in outcome.cells:
        if result.status != "done":
            write_cell(store.cells, result)
    store.end_plan(plan.name)
    return outcome


def _until_interrupted(reports: Iterator[Report]) -> Iterator[Report]:
    """Passes reports on until Ctrl-C, also where a library swallows the KeyboardInterrupt and fails the job instead."""
    interrupted = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield from reports
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        for report in reports:
            if interrupted:
                raise KeyboardInterrupt
            yield report
    finally:
        signal.signal(signal.SIGINT, before)


def _result(cell: PlannedCell, plan: Plan, store: Store, errors: dict[str, dict[str, str]], command: str) -> CellResult:
    """A cell's record, from the manifests of its artifacts or from the first failure among its stages."""
    common = _coordinates(cell, plan)
    error = next((errors[key] for key in cell.jobs.values() if key in errors), None)
    manifests: dict[str, Manifest] = {}
    for stage, key in cell.jobs.items():
        if key not in errors and store.folder(stage, key).is_dir():
            with suppress(DamagedArtifactError):  # not made again, because an earlier stage failed
                manifests[stage] = store.manifest(stage, key)
    common |= {
        "costs": {stage: manifest.cost for stage, manifest in manifests.items()},
        "logs": {stage: manifest.payload.get("logs", {}) for stage, manifest in manifests.items()},
        "scores": {k: v for m in manifests.values() for k, v in m.payload.get("scores", {}).items()},
        "artifacts": {stage: cell.jobs[stage] for stage in manifests},
    }
    if error is not None:
        return CellResult(status="failed", error=error, provenance={"command": command}, **common)
    if lost := [f"{stage} {key[:12]}" for stage, key in cell.jobs.items() if stage not in manifests]:
        raise UserError(
            f"store {store.root}: artifact {lost[0]} is gone; was the store deleted during the run? "
            "Run the same command again"
        )
    train = manifests["train"]
    return CellResult(
        status="done",
        clean_test_accuracy=train.payload["clean_test_accuracy"],
        test_images=train.payload["test_images"],
        curve=train.payload["curve"],
        view_seconds=train.payload["view_seconds"],
        provenance={**train.environment, "command": command},
        **common,
    )


def _skipped(plan: Plan, command: str) -> list[CellResult]:
    """The records of cells that are impossible."""
    return [
        CellResult(
            status="skipped", error={"message": why}, provenance={"command": command}, **_coordinates(cell, plan)
        )
        for cell, why in plan.skipped
    ]


def _coordinates(cell: PlannedCell, plan: Plan) -> dict[str, Any]:
    """Part of a cell's record that does not depend on its outcome."""
    return {
        "key": cell.key,
        "preset": plan.matrix.preset,
        "precision": next(iter(plan.jobs.values())).engine.precision,
        "dataset": plan.dataset,
        "attack": describe(cell.attack),
        "defense": describe(cell.defense),
        "victim": describe(cell.victim),
        "seed": cell.seed,
    }


def choose_executor(text: str) -> Executor:
    """The executor a selection names (`submitit:cluster=slurm:gpus=1`)."""
    chosen = select(executors, text)
    if len(chosen) != 1:
        raise UserError(f"one executor at a time, got {text!r}")
    executor: Executor = chosen[0].component
    return executor


def choose_device(text: str) -> str:
    """`auto` is the GPU if there is one; a named device must exist."""
    import torch

    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise UserError(f"unknown device {text!r}; choices: auto, cpu, cuda, cuda:0, ...") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {text!r}: torch sees {torch.cuda.device_count()} CUDA devices; choose cpu or auto")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {text!r} is not supported; choices: auto, cpu, cuda, cuda:0, ...")
    return text


def run_matrix(
    attacks: str | Sequence[str | Table] | None = None,
    defenses: str | Sequence[str | Table] | None = None,
    victims: str | Sequence[str | Table] | None = None,
    *,
    dataset: str | Table | None = None,
    preset: str | None = None,
    seeds: int | list[int] | None = None,
    parameters: dict[str, dict[str, dict[str, Any]]] | None = None,
    plugins: Sequence[str | Path] = (),
    store: str | Path = "results",
    data_root: str | Path = "data",
    device: str = "auto",
    executor: str = "inline",
    threads: int | None = None,
    repeat_costs: int = 1,
    engine: Literal["eager", "compile"] = "eager",
    deterministic: bool = False,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    skip_impossible: bool = False,
) -> pd.DataFrame:
    """Runs a matrix and returns its cells, the same as `bench run` with the same words.

    Args:
        attacks: a selection, for example "lsp,ops:objective=paper", or a list of selections; a list may hold tables,
            in which no value has to be quoted: [{"name": "from-file", "path": "a,b.npz"}].
        defenses: likewise, for example ["dvae", "iss"].
        victims: likewise.
        dataset: one selection, for example "cifar10:train=2000", or a table: {"name": "npz", "path": "a,b.npz"}.
        preset: `demo`, `fast` or `paper`; the other arguments win over it.
        seeds: a count or a list.
        parameters: kind -> component -> parameters, as in the TOML file.
        plugins: files to import first.
        store: folder of artifacts and results; what is there already is not computed again.
        data_root: folder of downloaded and prepared data.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        executor: selection of an executor.
        threads: CPU threads; None leaves PyTorch's number.
        repeat_costs: runs of a purification, of which the median counts; what is in the store keeps its cost.
        engine: `compile` sends training steps through torch.compile.
        deterministic: repeatable to the bit, and slower.
        precision: of matrix products and convolutions; `auto` is bfloat16 on a GPU that computes in it, else float32.
        skip_impossible: record cells that cannot work on this data set as skipped, instead of raising an error.

    Returns:
        One row per cell, failed ones included, with the columns of cells.csv (docs/results.md).

    Raises:
        UserError: for anything in the arguments that is wrong, before any work.
    """
    from leaderboard.tables.table import cells_frame

    if repeat_costs < 1:
        raise UserError(f"repeat_costs must be at least 1, got {repeat_costs}")
    settings = Settings(preset, dataset, attacks, defenses, victims, seeds, parameters)
    matrix = make_matrix([settings], tuple(Path(plugin) for plugin in plugins))
    chosen, where = choose_executor(executor), choose_device(device)
    how = Engine.choose(where, engine, deterministic, precision)
    loading.load.cache_clear()  # files may have changed since the last call in this process
    opened = Store(Path(store))
    opened.tidy()
    root = Path(data_root)
    with opened.in_use(), _threads(threads):
        splits = loading.load(matrix.dataset, root)
        plan = make_plan(
            matrix,
            splits,
            opened,
            root,
            where,
            threads or 0,
            how,
            repeat_costs=repeat_costs,
            skip_impossible=skip_impossible,
        )
        outcome = run_plan(plan, opened, chosen, Silent(), command=" ".join(sys.argv))
    return cells_frame(outcome.cells)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """This many CPU threads inside of it; as many as before after it."""
    import torch

    if count is not None and count < 1:
        raise UserError(f"threads must be at least 1, got {count}")
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
