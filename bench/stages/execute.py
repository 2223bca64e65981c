"""The three stages: poison, purify, train and score. The only callers of plug-ins; they check the plug-ins' promises.

Every stage runs its plug-in inside a `Meter`, loads before and stores after it, and computes the harness's own
diagnosis outside it, so that a cost is the method's and nothing else.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch

from bench.errors import ContractError, of_the_machine, told
from bench.registry import attacks, defenses, load_plugin, victims
from bench.registry.source import load_imports, source_digest
from bench.select.identity import identity
from bench.select.spec import Selected, canonical_json, select
from bench.stages.capture import captured
from bench.stages.environment import environment
from bench.stages.jobs import Job, Report
from bench.stages.left_behind import restored
from bench.stages.poison import poison
from bench.stages.purify import purify
from bench.stages.replaced import none_replaced
from bench.stages.session import Session
from bench.stages.task import OnProgress, Task, unseen
from bench.stages.train import train
from bench.store.artifacts import Store

_STAGES = {"poison": poison, "purify": purify, "train": train}
_REGISTRIES = {"poison": attacks, "purify": defenses, "train": victims}


def _untold() -> None: ...


def execute(
    job: Job, session: Session, on_progress: OnProgress = unseen, on_begin: Callable[[], None] = _untold
) -> Report:
    """Runs one job and stores its artifact, unless another process has done so since the plan was made.

    A failure of the plug-in is a report, not an exception. `on_begin` is called when libraries and data are loaded.
    """
    start = time.perf_counter()
    store = Store(session.store)
    with store.in_use():
        if store.state(job.stage, job.key) == "valid":
            return Report(job.key, job.stage, "done", time.perf_counter() - start)
        return _execute(Task(job, session, store, store.scratch(), on_progress), start, on_begin)


def _execute(task: Task, start: float, on_begin: Callable[[], None]) -> Report:
    job, session, store = task.job, task.session, task.store
    here = Path.cwd()
    error: dict[str, str] = {}
    with captured(store.log(job.stage, job.key)) as warned:
        try:
            session.check_device()
            if session.threads:
                torch.set_num_threads(session.threads)
            for plugin in session.plugins:
                _load_plugin_once(plugin)
            acting = _acting(job)
            _check_planned(job, acting)
            _load_libraries(acting.values())
            task.dataset()
            with session.engine.applied(), none_replaced(), restored(warned):
                on_begin()
                made = _STAGES[job.stage](task)
            found = environment(session.device, session.engine)
            data = store.put(made.tensors)
            store.keep(data, made.manifest(job, data, found))
        except KeyboardInterrupt:
            raise
        except BaseException as caught:  # research code calls sys.exit, or has exceptions outside of Exception
            error = {
                "stage": job.stage,
                "key": job.key,
                "kind": type(caught).__name__,
                "message": of_the_machine(caught) or told(caught),
                "traceback": traceback.format_exc(),
            }
        finally:
            os.chdir(here)  # a plug-in may have gone elsewhere; the data set's path may start here
            shutil.rmtree(task.scratch, ignore_errors=True)
    status: Literal["done", "failed"] = "failed" if error else "done"
    return Report(job.key, job.stage, status, time.perf_counter() - start, error, dict(warned))


def _acting(job: Job) -> dict[str, Selected]:
    """The components that run in a job, by their place in its preimage."""
    selections = {"component": (_REGISTRIES[job.stage], job.component), "defense": (defenses, job.defense)}
    return {place: select(registry, text)[0] for place, (registry, text) in selections.items() if text}


def _check_planned(job: Job, acting: Mapping[str, Selected]) -> None:
    """Another process may have imported newer code than the plan saw: its results would be stored under the old key.

    Raises:
        ContractError: naming the component that is not the plan's.
    """
    since = "changed since the plan was made; run the same command again"
    for place, selected in acting.items():
        if canonical_json(identity(selected)) != canonical_json(job.preimage[place]):
            raise ContractError(f"the code of {selected.full_text!r}, or a file that it reads, {since}")
    if job.preimage.get("training") not in (None, source_digest("bench.training")):
        raise ContractError(f"the code of bench.training {since}")


def _load_libraries(acting: Iterable[Selected]) -> None:
    """Imports what the components would import while they work, before a clock starts."""
    for selected in acting:
        for one in selected.acting:
            load_imports(one.entry.cls.__module__)


@functools.cache
def _load_plugin_once(path: str) -> None:
    load_plugin(Path(path))
