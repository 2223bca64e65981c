"""Training steps as CUDA graphs: captured, then replayed with one launch instead of hundreds.

A graph holds kernels with the addresses they read and write. So every batch is copied into tensors that stay, learning
rates are tensors, and Python runs only while the graph is captured: what a step decides by Python's state or by a value
that it reads would stay as it was then. `fit` therefore replays only what is declared `replayable`, and captures anew
in every epoch, because a loss may change between epochs; the `Trainer` of surrogates, without epochs, captures once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch

from bench.training.batches import Drawn


class Graph(Protocol):
    """A captured step."""

    def replay(self) -> None: ...


class Replayed:
    """A step whose first batch runs as it is, whose second is captured, and which is replayed from then on.

    The first batch loads kernels and makes what outlives a step (the optimizer's state, generators). A batch of another
    size runs as it is.

    Args:
        step: gets a batch; the same operations for every batch of a size.
    """

    def __init__(self, step: Callable[[Drawn], None]) -> None:
        self._step = step
        self._size: int | None = None
        self._static: Drawn | None = None
        self._graph: Graph | None = None

    def __call__(self, drawn: Drawn) -> None:
        if self._size is None or len(drawn.rows) != self._size:
            self._size = self._size or len(drawn.rows)
            self._step(drawn)
            return
        if self._static is None or self._graph is None:
            self._static = static = Drawn(drawn.epoch, *(part.clone() for part in drawn[1:]))
            self._graph = capture(lambda: self._step(static))
        else:
            for mine, given in zip(self._static[1:], drawn[1:], strict=True):
                mine.copy_(given)
        self._graph.replay()


def possible(device: torch.device) -> bool:
    """True for devices that have graphs."""
    return device.type == "cuda"


def capture(step: Callable[[], None]) -> Graph:
    """Records the kernels of a step that has run before on the same stream; they do not run yet.

    Generators of the device draw new numbers at every replay, the same as without a graph.

    Raises:
        RuntimeError: for a step that waits for the device, copies from memory that is not pinned, or draws on the CPU.
    """
    graph = torch.cuda.CUDAGraph()
    before = torch.get_rng_state(), random.getstate()
    # "thread_local": the thread that feeds images from host memory may wait for its buffers meanwhile.
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        step()
    if not torch.equal(before[0], torch.get_rng_state()) or before[1] != random.getstate():
        raise RuntimeError("the step draws random numbers on the CPU; a graph would repeat them: use ctx.stream")
    return graph


@cache
def _own(device: torch.device) -> torch.cuda.Stream:
    """One for the process: each stream keeps the memory that it has freed, and a workspace of cuBLAS, to itself."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """The block's work goes to a stream of its own, as captures need it; both streams wait for each other."""
    if device.type != "cuda":
        yield
        return
    outer, stream = torch.cuda.current_stream(device), _own(device)
    stream.wait_stream(outer)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        outer.wait_stream(stream)
