"""Everything before the first job: matrix, device, threads, store, data, plan. One way for CLI, Python and GPU runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.api.engine import Engine
from bench.datasets import loading
from bench.datasets.splits import Splits
from bench.errors import UserError
from bench.plan.arithmetic import Arithmetic, assumed_pass_seconds
from bench.plan.history import History
from bench.plan.plan import Plan, make_plan
from bench.registry import executors
from bench.run.devices import choose_device
from bench.run.executors import Executor
from bench.select.grammar import cut
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.select.spec import select
from bench.stages.jobs import Job
from bench.stages.session import Session
from bench.store.artifacts import Store

_LONGEST = 1e8  # s, three years: of a stage timeout


_LARGEST_COUNT = 10_000  # of threads or repeats; PyTorch stops with an error of its own above 2**31


@dataclass(frozen=True)
class Options:
    """Folders, device and engine of a run, in the words of the command line.

    Attributes:
        store: folder of artifacts and results.
        data_root: folder of downloaded and prepared data.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        engine: `auto`, `eager`, `compile` or `graph`.
        deterministic: repeatable to the bit, and slower.
        precision: `auto`, `float32` or `bfloat16`.
        threads: CPU threads; None leaves PyTorch's number.
        repeat_costs: least number of runs of a purification.
        plugins: files to import first.
        skip_impossible: record cells that cannot work on this data set as skipped.
        baselines: add the attack `none` and the defense `none` to the matrix.
        command: the command line, for the provenance of cells.
        elsewhere: the executor's jobs run on other machines; no device of this one is looked at.

    Raises:
        UserError: for a number below 1.
    """

    store: Path = Path("results")
    data_root: Path = Path("data")
    device: str = "auto"
    engine: str = "auto"
    deterministic: bool = False
    precision: str = "auto"
    threads: int | None = None
    repeat_costs: int = 1
    plugins: tuple[Path, ...] = ()
    skip_impossible: bool = False
    baselines: bool = True
    command: str = ""
    elsewhere: bool = False

    def __post_init__(self) -> None:
        for text in map(str, (self.store, self.data_root, self.command)):
            if text.encode("utf-8", "ignore").decode("utf-8") != text:
                raise UserError(
                    f"{text!a}: has bytes that are not UTF-8, which results cannot hold; rename that file or folder, "
                    "or set PYTHONUTF8=1 if the name is right"
                )
        for name in ("threads", "repeat_costs"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UserError(f"{name} must be at least 1, got {count}")
            if count is not None and count > _LARGEST_COUNT:
                raise UserError(f"{name} must be at most {_LARGEST_COUNT}, got {count}")

    def chosen(self) -> tuple[str, Engine]:
        """The device and the engine that are meant; `auto` is resolved.

        Raises:
            UserError: for an unknown word, or a device or precision that this machine does not have and should.
        """
        device = choose_device(self.device, self.elsewhere)
        return device, Engine.choose(device, self.engine, self.deterministic, self.precision, not self.elsewhere)


@dataclass(frozen=True)
class Prepared:
    """A plan, with the store and the data that it was made from.

    Attributes:
        plan: of the matrix.
        store: opened, and held if something is to run.
        splits: the data set.
        shared: True if another run, or a job of one, was active in the store.
    """

    plan: Plan
    store: Store
    splits: Splits
    shared: bool = False

    def seconds(self, job: Job) -> float:
        """Expected time of a job, for its place in the order: recorded, by arithmetic, or the longest of its stage."""
        return self._expected[job.key]

    @functools.cached_property
    def history(self) -> History:
        """Times of earlier runs."""
        return History(self.store, self.plan.session)

    @functools.cached_property
    def _expected(self) -> dict[str, float]:
        arithmetic = Arithmetic(self.plan, self.splits, assumed_pass_seconds)
        known: dict[str, float] = {}
        longest: dict[str, float] = {}
        for job in self.plan.pending():
            seconds = self.history.seconds(job)
            seconds = arithmetic.seconds(job) if seconds is None else seconds
            if seconds is not None:
                known[job.key] = seconds
                longest[job.stage] = max(seconds, longest.get(job.stage, 0.0))
        return {job.key: known.get(job.key, longest.get(job.stage, 1.0)) for job in self.plan.pending()}


@contextmanager
def prepared(layers: Sequence[Settings], options: Options, *, runs: bool = True) -> Iterator[Prepared]:
    """Checks all that can be checked before the first second of work, and makes the plan.

    Inside the block the process has the chosen number of threads, and the store is held if something is to run.

    Args:
        layers: the settings, the weakest first.
        options: how and where to compute.
        runs: make the store, tidy it and hold it; else only look at it.

    Raises:
        UserError: for anything in the settings or options that is wrong.
    """
    timeout = next((layer.stage_timeout for layer in reversed(layers) if layer.stage_timeout is not None), None)
    if timeout is not None and not 0 < timeout <= _LONGEST:
        raise UserError(f"stage_timeout must be more than 0 and at most {_LONGEST:g} seconds, got {timeout:g}")
    matrix = make_matrix(list(layers), options.plugins, options.baselines)
    device, engine = options.chosen()
    loading.load.cache_clear()  # files may have changed since the last call in this process
    store = Store(options.store, create=runs)
    if runs and store.exported:
        raise UserError(f"store {store.root} is an exported folder, in which nothing is computed; give another --store")
    shared = runs and not store.tidy() and store.busy
    with store.in_use() if runs else nullcontext(), _threads(options.threads):
        splits = loading.load(matrix.dataset, options.data_root.absolute())
        session = Session(
            matrix.dataset,
            splits.digests,
            options.store.absolute(),
            options.data_root.absolute(),
            device,
            engine,
            options.threads,
            matrix.plugins,
            options.repeat_costs,
            options.command,
            timeout,
            elsewhere=options.elsewhere,
        )
        yield Prepared(make_plan(matrix, splits, store, session, options.skip_impossible), store, splits, shared)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """This many CPU threads inside of it; as many as before after it."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def choose_executor(text: str) -> Executor:
    """The executor a selection names (`submitit:cluster=slurm:gpus=1`, `local:gpus=0,2`)."""
    name, *parameters = cut(text, ":", most=1)
    # There is one executor, so that a comma in its parameters is part of a value.
    chosen = select(executors, ":".join([name, *("\\,".join(cut(rest, ",")) for rest in parameters)]))
    if len(chosen) != 1:
        raise UserError(f"one executor at a time, got {text!r}")
    executor: Executor = chosen[0].component
    return executor


def more_gpus(plan: Plan, executor: Executor) -> str:
    """A line for a run that uses one of several visible GPUs; "" if it does not, or has nothing to do."""
    if executor.slots > 1 or executor.elsewhere or plan.session.device != "cuda" or not plan.pending():
        return ""
    count = torch.cuda.device_count()
    return f"one of {count} GPUs is used; --executor local:gpus=all uses all" if count > 1 else ""
