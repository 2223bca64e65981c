"""Batches of a set that stays in memory or in a mapped file: the next one is fetched while the step runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def feed(images: Tensor, rows: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """`images[rows[0]]`, `images[rows[1]]`, ... on the device, each gathered by a thread one batch ahead.

    On a GPU the two host buffers, which take turns, are pinned, and copies run on a stream of their own next to the
    step; nothing waits for the device but a buffer for its copy of two batches ago.

    Args:
        images: on the CPU, any type; may be a memory-mapped file larger than memory.
        rows: int64 positions of every batch, on the CPU.
        device: where the batches are wanted.
    """
    if not rows:
        return
    cuda = device.type == "cuda"
    longest = max(len(batch) for batch in rows)
    host = torch.empty((2, longest, *images.shape[1:]), dtype=images.dtype, pin_memory=cuda)
    stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
    copied = [torch.cuda.Event() for _ in host] if cuda else []  # type: ignore[no-untyped-call]

    def gather(number: int) -> Tensor:
        if cuda:
            copied[number % 2].synchronize()
        where = rows[number]
        return torch.index_select(images, 0, where, out=host[number % 2, : len(where)])

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(gather, 0)
        for number in range(len(rows)):
            gathered = coming.result()
            with torch.cuda.stream(stream):  # None: where we are
                batch = gathered.to(device, non_blocking=True) if cuda else gathered.clone()
            if stream is not None:
                copied[number % 2].record(stream)
                torch.cuda.current_stream(device).wait_stream(stream)
                batch.record_stream(torch.cuda.current_stream(device))
            if number + 1 < len(rows):
                coming = thread.submit(gather, number + 1)
            yield batch
