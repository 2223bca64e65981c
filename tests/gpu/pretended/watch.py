"""Inside a process with pretended GPUs: its counters, and errors for waits where nothing may wait."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import torch

from bench.api import Context, ImageSet
from bench.stages import as_built
from bench.training import Batches, evaluate, loop, pgd, rehearsal
from bench.training.optimizer import Stepper
from bench.training.surrogates import crafting


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.pretended_report.restype = ctypes.c_char_p
    return library


def reset() -> None:
    """Sets all counters to 0."""
    _library().pretended_reset()


def counts() -> dict[str, int]:
    """Launches, copies, waits and calls since `reset`."""
    return _numbers(_report().partition("kernels\n")[0])


def kernels() -> dict[str, int]:
    """Launches by (mangled) name since `reset`."""
    return _numbers(_report().partition("kernels\n")[2])


def _report() -> str:
    text: bytes = _library().pretended_report()
    return text.decode()


def _numbers(lines: str) -> dict[str, int]:
    return {name: int(number) for name, number in (line.split("\t") for line in lines.splitlines())}


@contextmanager
def waits_are_errors(yes: bool = True) -> Iterator[None]:
    """Inside the block torch raises where it would wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error" if yes else "default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def refuse_waits_in_steps() -> None:
    """For the rest of the process, a wait is an error in a loss, an optimizer step, a gradient step, a next batch."""
    step, update, drawn, augmented = Context.training_step, Stepper.update, Batches.drawn, Batches.augmented
    frozen = pgd.frozen

    @contextmanager
    def training_step(self, inside=True):
        with step(self, inside), waits_are_errors(inside):
            yield

    def optimizer_step(self, loss):
        with waits_are_errors():
            update(self, loss)

    def augmented_batch(self, batch):
        with waits_are_errors():
            return augmented(self, batch)

    @contextmanager
    def gradient_steps(model):
        with frozen(model), waits_are_errors():
            yield

    def batches(self):
        coming = drawn(self)
        yield next(coming)  # an epoch begins with its random numbers, which are copied
        while True:
            with waits_are_errors():
                batch = next(coming, None)
            if batch is None:
                return
            yield batch

    Context.training_step, Stepper.update = training_step, optimizer_step
    Batches.drawn, Batches.augmented = batches, augmented_batch
    pgd.frozen = gradient_steps


def believe_what_is_on_the_device() -> None:
    """For the rest of the process, values on the device are not checked: no kernel has computed them."""
    check = ImageSet.__post_init__

    def on_the_host(self):
        if not any(t is not None and t.is_cuda for t in (self.images, self.labels, self.aspect_ratios)):
            check(self)

    ImageSet.__post_init__ = on_the_host
    for module in (loop, crafting):
        module.math = SimpleNamespace(**{**vars(math), "isfinite": lambda value: True})
    rehearsal._differs = lambda plain, again, found: ""
    evaluate._unread = lambda largest: 0
    loop._check_weights = lambda groups, recipe: None
    as_built._sums = lambda model: torch.empty(0)
