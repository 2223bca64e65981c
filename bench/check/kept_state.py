"""Checks that a defense keeps nothing between two stages: a fit that is remembered costs nothing the second time.

A stage constructs its defense anew, so what can be kept is kept by modules, classes, functions, or files. The signs:

- work on other images leaves the plug-in's modules other than they were: what is kept depends on the images;
- a process that has worked gives another result than a fresh one: what is kept is used;
- a fresh process, whose home, temporary and working folders are empty, takes clearly longer than one that has worked
  on the same images before, or works when it imports the plug-in: it computes once what every stage must pay for;
- images that were seen before take clearly less time than new ones: results are kept where a fresh process finds them;
- the very first process, which ran before any other, takes clearly longer than a later fresh one: a file is left
  somewhere else.

A plug-in whose import leaves a thread or a process running fails too, a daemon included.

And one that it keeps something inside a stage: rehearsals, which are not charged, take clearly longer than the rest.

Clearly is what `bench.store.results.pays_once` says, of processor seconds. Of quick defenses the images are many.
"""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from bench.api import ImageSet
from bench.api.engine import Engine
from bench.check.module_state import differences, held_by
from bench.check.whole_run import Run, processor_seconds, whole_run
from bench.measure.cost import load_libraries
from bench.registry import BY_KIND, defenses, load_plugin
from bench.registry.source import imports_of, modules_of
from bench.select.spec import Selected, select
from bench.stages.left_running import Threads, no_child_left
from bench.store.results import PAYS_ONCE_SECONDS, pays_once

_MANY = 6000  # images: a fit of a second on 50,000 is a tenth of that on them
_SET_CHILD_SUBREAPER = 36  # of Linux's prctl
_TRIES = 3  # fresh processes: in each of them a sign must show, for a busy machine makes one slow


def kept(selected: Selected, images: ImageSet) -> str | None:
    """State that a defense keeps between two runs, in words, or None.

    Args:
        selected: a defense; every run constructs it anew, as a stage does.
        images: not modified; other images are made of them.
    """
    for part in selected.parts:  # a chain holds nothing but its parts
        if found := kept(part, images):
            return f"{part.name}: {found}"
    if selected.parts:
        return None
    load_libraries(torch.device("cpu"))
    modules = modules_of(selected.entry.cls.__module__)
    few, first = images, _first(selected, images)
    images = _enough(selected, images)
    other = replace(images, images=255 - images.images)
    before = held_by(modules)
    used = whole_run(selected, other)
    result = used.digest
    if changed := differences(before, held_by(modules)):
        return (
            f"keeps what depends on the images ({changed[0]} changed while it worked on others); "
            "what is computed for one stage must not outlive it: keep it in ctx.state"
        )
    problem = ""
    for _ in range(_TRIES):
        fresh = _in_a_fresh_process(selected, other)
        used = min(used, whole_run(selected, other), key=lambda run: run.seconds)
        if not (problem := _advantage(fresh, used, result)):
            break
    if not problem and all(_remembers(selected, replace(images, images=images.images.flip(axis))) for axis in (-1, -2)):
        problem = "takes much less time for images it has seen: it keeps results somewhere"
    if not problem and first is not None and _left_a_file(selected, few, first):
        problem = (
            "takes much longer in the first process than in a later fresh one: it leaves a file outside of ctx.scratch"
        )
    return problem or None


def _first(selected: Selected, images: ImageSet) -> Run | None:
    """Run of a fresh process before this one runs the defense, and leaves files; None if it fails, as this one will."""
    try:
        return _in_a_fresh_process(selected, images)
    except KeyboardInterrupt:
        raise
    except BaseException:  # research code calls sys.exit
        return None


def _enough(selected: Selected, images: ImageSet) -> ImageSet:
    """The images as often as it takes to keep the defense busy, so that a fit among its work is seen."""
    while whole_run(selected, images).seconds < PAYS_ONCE_SECONDS and len(images) < _MANY:
        images = images.take(torch.arange(len(images)).repeat(4))
    return images


def _advantage(fresh: Run, used: Run, result: str) -> str:
    """Gain of a process that has worked before, in words, or ""."""
    if fresh.digest != result:
        return "gives another result in a process that has worked on other images than in a fresh one: it keeps state"
    if fresh.importing > PAYS_ONCE_SECONDS:
        return f"importing it does work: {fresh.importing:.2f} s; put it in purify, so that it is measured"
    if pays_once([fresh.seconds, used.seconds]):
        return (
            f"computes once what every stage must pay for: {fresh.seconds:.2f} s in a fresh process, "
            f"{used.seconds:.2f} s in one that has done it before; compute it in purify, and keep nothing"
        )
    if pays_once([used.rehearsing, used.seconds - used.rehearsing]):
        return (
            f"works in rehearsals, which are not charged: {used.rehearsing:.2f} s of {used.seconds:.2f} s; "
            "compute it where it is used"
        )
    return ""


def _remembers(selected: Selected, unseen: ImageSet) -> bool:
    """True if these images take much less time when they come again."""
    again = replace(unseen, images=unseen.images.clone())
    return pays_once([whole_run(selected, unseen).seconds, whole_run(selected, again).seconds])


def _left_a_file(selected: Selected, images: ImageSet, first: Run) -> bool:
    """True if the first of all runs took much longer than later ones on the same images, fresh processes included."""
    if not pays_once([first.seconds, whole_run(selected, images).seconds]):
        return False
    return pays_once([first.seconds, _in_a_fresh_process(selected, images).seconds])


def _in_a_fresh_process(selected: Selected, images: ImageSet) -> Run:
    """Results and times of a process that has not run the defense before.

    It finds no files at home, unless the defense says that it needs weights from there. What fails without files runs
    once more with them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.check.kept_state", "torch._dynamo", "timm"])
    module = selected.entry.cls.__module__
    source = getattr(sys.modules[module], "__file__", None)
    job = (selected.full_text, module, source, imports_of(module), torch.get_num_threads(), images)
    if "pretrained-weights" not in selected.entry.uses:
        with suppress(Exception), tempfile.TemporaryDirectory() as empty, ProcessPoolExecutor(1, context) as pool:
            return pool.submit(_run_fresh, empty, *job).result()
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_run_fresh, None, *job).result()


def _run_fresh(
    empty: str | None,
    text: str,
    module: str,
    source: str | None,
    libraries: list[str],
    threads: int,
    images: ImageSet,
) -> Run:
    torch.set_num_threads(threads)
    load_libraries(torch.device("cpu"))
    for name in libraries:
        with suppress(Exception):  # optional, or no module
            importlib.import_module(name)
    if empty is not None:
        os.environ |= dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TMP", "TEMP", "XDG_CACHE_HOME"), empty)
        tempfile.tempdir = empty
    installed = importlib.util.find_spec(module.partition(".")[0]) is not None
    if not installed:  # a file: `load_plugin` asks for all components before it imports
        for registry in BY_KIND.values():
            registry.load()
    who, start = "importing it", processor_seconds()
    started = Threads(who, Engine())
    with _parent_of_daemons(), no_child_left(who):
        if installed or source is None:
            importlib.import_module(module)
        else:
            load_plugin(Path(source))
        started.check()
    importing = processor_seconds() - start
    selected = select(defenses, text)[0]
    if empty is not None:
        os.chdir(empty)
    return replace(whole_run(selected, images), importing=importing)


@contextmanager
def _parent_of_daemons() -> Iterator[None]:
    """Makes this process the parent of daemons that the block starts, so that they are seen (on Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
