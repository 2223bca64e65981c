"""Networks with seeded weights, and torch's global generators under a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from bench.api import Context

M = TypeVar("M", bound=nn.Module)


@contextmanager
def seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators (weight initialisation, dropout) inside the block and restores them after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        yield


def build(make: Callable[[], M], ctx: Context, purpose: str = "model-init") -> M:
    """Builds a network with seeded weights and moves it to the device, channels-last."""
    generator = ctx.generator(purpose)
    with seeded(generator, torch.device("cpu")):
        model = make()
    return model.to(ctx.device).to(memory_format=torch.channels_last)
