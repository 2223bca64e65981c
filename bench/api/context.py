"""Context: what the harness lends a plug-in for one stage: randomness, phases, progress, notes, memory."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

from bench.api.engine import Engine
from bench.errors import ContractError
from bench.store.data_files import reserve

T = TypeVar("T")
_Loggable = float | int | str | bool | list[float]

_OWN_TENSORS = ("images", "mask", "predictions", "sample_rows", "sample_clean", "sample_result")


class _PhaseMeter(Protocol):
    def phase(self, name: str) -> AbstractContextManager[None]: ...
    def warm(self) -> AbstractContextManager[None]: ...


class _NoMeter:
    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def warm(self) -> AbstractContextManager[None]:
        return nullcontext()


def child_seed(seed: int, scope: str, purpose: str) -> int:
    """A seed of its own for each purpose, so that one more draw here never shifts a draw there (63 bits)."""
    digest = hashlib.sha256(f"{seed}:{scope}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass
class Context:
    """Services of the harness for a plug-in during one stage. Plug-ins never seed, time, print or cache by themselves.

    Attributes:
        seed: of the matrix; use `generator`, not this number.
        device: where to compute.
        scratch: an empty folder of this stage's own, deleted afterwards.
        scope: the component's registered name; part of every derived seed.
        engine: how to compute; `bench.training.fit` heeds it.
        epoch: of the victim's training, counted from 0, for a `batch_loss`.
        logs: what `log` recorded: stored in the artifact's manifest.
        kept: what `keep` stored: saved with the artifact.
        through: what surrogates look at their images through, a defense's differentiable version: gets the images and
            their labels, or None where no one knows them; None for nothing.
    """

    seed: int
    device: torch.device
    scratch: Path
    scope: str = ""
    meter: _PhaseMeter = field(default_factory=_NoMeter)
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None
    resident_bytes: int = 2**30
    engine: Engine = field(default_factory=Engine)
    epoch: int = 0
    through: Callable[[Tensor, Tensor | None], Tensor] | None = None
    logs: dict[str, object] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    _streams: dict[str, torch.Generator] = field(default_factory=dict)
    _states: dict[str, object] = field(default_factory=dict)
    _later: list[Callable[[], dict[str, _Loggable]]] = field(default_factory=list)
    _in_step: bool = False

    def generator(self, purpose: str) -> torch.Generator:
        """A new CPU generator seeded for this purpose: two calls draw the same numbers.

        Draw on the CPU and move, so that every device sees the same.

        Raises:
            ContractError: inside a training step, where it would draw the same numbers for every batch. The `make` of
                `state` may call it, because it runs once.
        """
        if self._in_step:
            raise ContractError(
                f"ctx.generator({purpose!r}) inside a training step starts again at every batch, so every batch gets "
                f"the same random numbers; use ctx.stream({purpose!r}), which continues its sequence"
            )
        return torch.Generator().manual_seed(child_seed(self.seed, self.scope, purpose))

    def stream(self, purpose: str) -> torch.Generator:
        """The stage's one generator of this purpose on its device: each call continues where the last one stopped.

        For draws inside a training step (`batch_loss`), where a copy from the CPU would cost time.
        """
        if purpose not in self._streams:
            seed = child_seed(self.seed, self.scope, purpose)
            self._streams[purpose] = torch.Generator(self.device).manual_seed(seed)
        return self._streams[purpose]

    def state(self, name: str, make: Callable[[], T]) -> T:
        """The stage's one object of this name, made at the first call: what a `batch_loss` keeps beyond a batch."""
        if name not in self._states:
            with self.training_step(False):
                self._states[name] = make()
        return cast(T, self._states[name])

    @contextmanager
    def training_step(self, inside: bool = True) -> Iterator[None]:
        """Marks the block as the loss of one batch: `bench.training.fit` does, so that `generator` can refuse."""
        before, self._in_step = self._in_step, inside
        try:
            yield
        finally:
            self._in_step = before

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Forgets, after the block, all that it logs, keeps, draws from streams, puts into states or scratch files."""
        before = dict(vars(self))
        self.logs, self.kept, self._streams, self._states, self._later = {}, {}, {}, {}, []
        try:
            with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
                self.scratch = Path(scratch)
                yield
        finally:
            vars(self).clear()
            vars(self).update(before)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Times a named part of the stage (`fit`, `apply`, ...), waiting for the device at both ends."""
        return self.meter.phase(name)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Tells the person watching how far this stage is; free to call once an epoch or once a chunk."""
        self.on_progress(done, total, note)

    def log(self, name: str, value: _Loggable) -> None:
        """Records a value of the method (a loss, a rate, a PSNR) in the artifact's manifest.

        Raises:
            TypeError: at once, for what JSON cannot hold; numbers that are not finite are stored as text.
        """
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        self.logs[name] = json.loads(json.dumps(value, allow_nan=False))  # a copy: reading it later computes nothing

    def log_later(self, values: Callable[[], dict[str, _Loggable]]) -> None:
        """Records what `values` returns once the stage has computed: how a `batch_loss` reports tensors unread.

        It is called inside the meter, in the phase `report`, which is charged.
        """
        self._later.append(values)

    def recorded(self) -> dict[str, object]:
        """Everything logged, `log_later` included: the harness asks inside the meter, when the stage has computed."""
        if self._later:
            with self.phase("report"):
                while self._later:
                    for name, value in self._later.pop(0)().items():
                        self.log(name, value)
        return self.logs

    def keep(self, name: str, tensor: Tensor) -> None:
        """Stores a tensor with the result, for diagnosis.

        An estimated perturbation, float (N, C, H, W) on the [0, 1] scale, goes by the name `perturbation`: the harness
        scores it against the true one.

        Raises:
            ValueError: for the names of the result itself, and for a type that cannot be stored.
        """
        if name in _OWN_TENSORS:
            raise ValueError(f"keep({name!r}): that name is the result's own; choose another")
        if tensor.dtype == torch.bfloat16 or tensor.is_complex():
            raise ValueError(f"keep({name!r}): {tensor.dtype} cannot be stored; convert it to float16 or float32")
        self.kept[name] = tensor.detach().cpu().contiguous()

    def empty_images(self, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised uint8 tensor to fill: in memory, or mapped to a file in `scratch` if it is large."""
        size = math.prod(shape)
        if size <= self.resident_bytes:
            return torch.empty(shape, dtype=torch.uint8)
        path = self.scratch / f"images-{len(list(self.scratch.iterdir()))}.u8"
        reserve(path, size)
        return torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8).view(shape)
