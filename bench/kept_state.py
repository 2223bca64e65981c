"""Whether a defense keeps anything between two stages: a fit that is remembered costs nothing the second time.

A stage constructs its defense anew, so what can be kept is kept by modules, classes, functions, or files. Four signs,
the first two without a clock:

- work on other images leaves the plug-in's modules other than they were: what is kept depends on the images;
- a process that has worked on other images gives another result than a fresh one: what is kept is used;
- the same images again take less than a tenth of the time: it is kept where this module does not look (a file);
- something was kept at the first call, and every later one takes less than a tenth of the first's time.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.api import ChangesRecipe, Context, ImageSet, Purifies, Recipe, SeesTestImages, TrainsDifferently
from bench.data import content_digest
from bench.registry import defenses, load_plugin
from bench.source import modules_of
from bench.spec import Selected, select
from bench.training import to_float

_FASTER = 10  # times: less is what warming up may bring
_LONG = 0.2  # s of processor time: below it nobody saves anything worth hiding
_CONTAINERS = (list, tuple, deque, set, frozenset)

State = dict[str, tuple[Any, Any]]
"""Name of what a module holds -> the object (kept alive, so that its identity stays its own), and what it contains."""


def kept(selected: Selected, images: ImageSet) -> str | None:
    """What a defense keeps between two runs, in words, or None.

    Args:
        selected: a defense; every run constructs it anew, as a stage does.
        images: not modified; other images are made of them.
    """
    other = replace(images, images=255 - images.images)
    unseen = [replace(images, images=images.images.flip(axis)) for axis in (-1, -2)]
    at_first = _state(selected)
    first = _seconds(selected, images)
    after_one = _state(selected)
    later, result = _timed(selected, other)
    if changed := _differences(after_one, _state(selected)):
        return (
            f"keeps what depends on the images ({changed[0]} changed while it worked on others); "
            "what is computed for one stage must not outlive it: keep it in ctx.state"
        )
    if result != _in_a_fresh_process(selected, other):
        return "gives another result in a process that has worked on other images than in a fresh one: it keeps state"
    if _remembers(selected, unseen):
        return "takes less than a tenth of the time for images it has seen: it keeps results somewhere"
    if (changed := _differences(at_first, after_one)) and first > max(_LONG, _FASTER * later):
        return (
            f"computes once what every stage must pay for: {changed[0]} is kept, and the second run took {later:.2f} s "
            f"after {first:.2f} s; compute it in purify"
        )
    return None


def _remembers(selected: Selected, sets: list[ImageSet]) -> bool:
    """Whether each of these sets takes a tenth of the time when it comes again; the next is tried if the last did."""
    for images in sets:
        once = _seconds(selected, images)
        if once <= max(_LONG, _FASTER * _seconds(selected, replace(images, images=images.images.clone()))):
            return False
    return True


def _seconds(selected: Selected, images: ImageSet) -> float:
    return _timed(selected, images)[0]


def _timed(selected: Selected, images: ImageSet) -> tuple[float, str]:
    """Processor seconds of all that the defense does with these images, and the digest of what comes out."""
    component: Any = replace(selected.component)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        ctx = Context(0, torch.device("cpu"), Path(scratch), selected.name)
        result = component.purify(images, ctx) if isinstance(component, Purifies) else images
        digest = content_digest(result)
        if isinstance(component, SeesTestImages):
            digest += content_digest(replace(images, images=component.view(images.images)))
        if isinstance(component, ChangesRecipe):
            digest += repr(component.change_recipe(Recipe()))
        if isinstance(component, TrainsDifferently):
            few = images.take(torch.arange(min(8, len(images))))
            model = nn.Sequential(nn.Flatten(), nn.Linear(few.images[0].numel(), few.info.num_classes))
            with ctx.training_step():
                component.batch_loss(model.train(), to_float(few.images), few.labels, ctx)
    return time.process_time() - start, digest


def _in_a_fresh_process(selected: Selected, images: ImageSet) -> str:
    """The digest that a process gives which has not run the defense before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.kept_state"])
    source = getattr(sys.modules[selected.entry.cls.__module__], "__file__", None)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_digest_of, selected.full_text, source, torch.get_num_threads(), images).result()


def _digest_of(text: str, source: str | None, threads: int, images: ImageSet) -> str:
    torch.set_num_threads(threads)
    if source is not None and text.partition(":")[0] not in defenses:
        load_plugin(Path(source))
    return _timed(select(defenses, text)[0], images)[1]


def _state(selected: Selected) -> State:
    """All that the plug-in's modules hold and could change, of those too that it imports only when it needs them."""
    found: State = {}
    for name in modules_of(selected.entry.cls.__module__):
        with suppress(ImportError):
            module = importlib.import_module(name)
            parts = {part: value for part, value in vars(module).items() if not part.startswith("__")}
            _walk(name, parts, name, found, {})
    return found


def _differences(before: State, after: State) -> list[str]:
    """Names of what is new, gone, another object or has another content."""
    return [
        name
        for name in {**before, **after}
        if name not in before
        or name not in after
        or before[name][0] is not after[name][0]
        or before[name][1] != after[name][1]
    ]


def _walk(path: str, value: Any, module: str, found: State, seen: dict[int, Any]) -> None:
    """Adds a value and what hangs below it: containers, and functions, classes and objects of the plug-in's module."""
    if id(value) in seen:
        return
    seen[id(value)] = value  # alive, so that its number is not another one's too
    found[path] = _content(value)
    for name, part in _parts(value, module):
        _walk(f"{path}{name}", part, module, found, seen)


def _content(value: Any) -> tuple[Any, Any]:
    """An object and what can change in it without a part of it becoming another object."""
    if isinstance(value, (*_CONTAINERS, Mapping)):
        return None, (type(value).__name__, len(value))
    if value is None or isinstance(value, (int, float, complex, str, bytes)):
        return None, (type(value).__name__, value)
    if isinstance(value, torch.Tensor):
        return value, value._version
    if isinstance(value, np.ndarray):
        return value, hash(value.tobytes())
    if isinstance(value, torch.Generator):
        return value, value.get_state().tolist()
    if isinstance(value, functools._lru_cache_wrapper):
        return value, value.cache_info()[1:]  # what was missed and what is kept; hits keep nothing
    return value, None


def _parts(value: Any, module: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f".{key}", part) for key, part in value.items())
    elif isinstance(value, _CONTAINERS):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    elif isinstance(value, (staticmethod, classmethod)):
        yield "", value.__func__
    elif isinstance(value, nn.Module):
        yield ".state_dict()", value.state_dict(keep_vars=True)
    elif isinstance(value, (SimpleNamespace, threading.local)):
        yield "", vars(value)
    elif getattr(value, "__module__", None) != module or isinstance(value, ModuleType):
        return
    elif isinstance(value, functools._lru_cache_wrapper):
        yield ".__wrapped__", value.__wrapped__
    elif isinstance(value, FunctionType):
        yield from ((".__dict__", vars(value)), (".__defaults__", value.__defaults__), (".closure", _closure(value)))
    elif hasattr(value, "__dict__"):
        yield "", {name: part for name, part in vars(value).items() if name not in ("__dict__", "__weakref__")}


def _closure(function: FunctionType) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # still empty
            contents.append(cell.cell_contents)
    return contents
