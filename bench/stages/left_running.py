"""Threads and child processes that a plug-in started and left running: their work would be in no cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from bench.api.engine import Engine
from bench.errors import ContractError

_LIBRARIES = ("bench", "ray", "rich", "torch", "tqdm")  # have threads of their own, which watch and report
_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "torch._inductor", "torch/_inductor")
_REMEDY = "end it before returning: pools in a `with` block, threads by join, processes by wait"


class Threads:
    """Threads that run now; those that come later must end in time.

    Args:
        who: starts them, for the message.
        engine: where it compiles, nothing is looked at: torch then keeps pools of its own.
    """

    def __init__(self, who: str, engine: Engine) -> None:
        self._who, self._before, self._looks = who, set(threading.enumerate()), engine.mode != "compile"

    def check(self) -> None:
        """Takes microseconds, and lets no other thread work meanwhile.

        Raises:
            ContractError: if a thread of Python runs that did not run before; an idle one of a pool too.
        """
        left = [t for t in threading.enumerate() if t not in self._before and not _is_of_a_library(t)]
        if left and self._looks:
            raise ContractError(f"{self._who} left a thread running ({left[0].name}); {_REMEDY}")


@contextmanager
def no_child_left(who: str) -> Iterator[None]:
    """Raises ContractError if the block leaves a child process running, or a child of one.

    What a process that ran before starts meanwhile (a cluster's daemon, another cell of a notebook) is not the block's.
    """
    before = children()
    yield
    if left := [child for child in children() - before if not before & _ancestors(child)]:
        raise ContractError(f"{who} left a process running ({_name(min(left, key=lambda p: p.pid))}); {_REMEDY}")


def children() -> set[psutil.Process]:
    """Processes that this one started, directly or not, and that have not ended; without helpers of libraries."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            ended = child.status() == psutil.STATUS_ZOMBIE
            if not ended and not any(helper in " ".join(child.cmdline()) for helper in _HELPERS):
                found.add(child)
    return found


def _ancestors(process: psutil.Process) -> set[psutil.Process]:
    with suppress(psutil.Error):
        return set(process.parents())
    return set()


def _is_of_a_library(thread: threading.Thread) -> bool:
    if isinstance(thread, threading._DummyThread):  # started outside of Python, as torch's backward passes are
        return True
    target = getattr(thread, "_target", None)
    modules = (type(thread).__module__, getattr(target, "__module__", None) or "")
    return any(module.partition(".")[0] in _LIBRARIES for module in modules)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid}: {' '.join(process.cmdline()[:2])}"
    return str(process.pid)
