"""Engine of a stage, in addition to its device: compiled or not, repeatable to the bit or not, in which precision.

Compiling and determinism are no part of a key, for the same reason that the device is not: results differ by float32
rounding alone (a compiled network draws the same random numbers). Precision is part of every key. bfloat16 has 8 bits
of mantissa where float32 has 24: an error of up to 0.4 % a number, which can decide whether a training converges. So
it is a setting of the experiment, like a learning rate; results of different precision are different cells, and the
board never averages, ranks or compares them. It is part of the key of stages that it does not touch too: which stages
those are is a matter of a plug-in's source, and computing again is cheaper than a wrong hit.

All three are in every manifest, and in the name of the device next to every cost, so that costs of different engines
are never compared. Precision `auto` is resolved before anything is planned (`Engine.choose`): plans, keys and jobs
know only float32 and bfloat16. Mode `auto` is eager on a CPU; on a GPU it stays `auto`, also in the device's name,
because every training decides for itself, by its rehearsal, and logs its choice (`bench.training.rehearsal`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import nn

from bench.errors import UserError, unknown

Mode = Literal["eager", "compile", "graph", "auto"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Engine:
    """Plain data, sent with every job.

    Attributes:
        mode: `eager`; `compile`: the networks that `bench.training.fit` trains go through torch.compile; `graph`: its
            steps are replayed from a CUDA graph where that is possible and gives equal losses; `auto`: they are where
            that is faster too.
        deterministic: repeatable to the bit on the same machine; an operation that cannot be is an error.
        precision: of matrix products and convolutions in everything that runs under `bench.training.autocast`:
            trainings, gradients of attacks, evaluation. Weights, losses and images are float32 in both.
    """

    mode: Mode = "eager"
    deterministic: bool = False
    precision: Precision = "float32"

    @classmethod
    def choose(
        cls, device: str, mode: str = "auto", deterministic: bool = False, precision: str = "auto", here: bool = True
    ) -> Engine:
        """The engine for a device.

        Mode `auto` is eager on a CPU; precision `auto` is bfloat16 on a GPU that computes in it, float32 elsewhere.
        If the device is not `here` but in another machine, a GPU is taken for one that computes in bfloat16, and that
        machine calls `check`.

        Raises:
            UserError: for an unknown word, or what this device or its tools cannot do.
        """
        allowed = {"engine": (mode, get_args(Mode)), "precision": (precision, ("auto", *get_args(Precision)))}
        for what, (name, choices) in allowed.items():
            if name not in choices:
                raise unknown(what, name, choices)
        if precision == "auto":
            precision = "bfloat16" if device.startswith("cuda") and (not here or has_bfloat16(device)) else "float32"
        if mode == "auto" and not device.startswith("cuda"):
            mode = "eager"
        words: dict[str, Any] = {"mode": mode, "precision": precision}
        engine = cls(deterministic=deterministic, **words)
        engine._check_words(device)
        if here:
            engine.check(device)
        return engine

    @property
    def label(self) -> str:
        """Addition to the name of a device: `, bfloat16, compiled, deterministic`; precision always."""
        mode = {"eager": "", "compile": "compiled", "graph": "CUDA graphs", "auto": "auto engine"}[self.mode]
        words = [self.precision, *[mode] * bool(mode), *["deterministic"] * self.deterministic]
        return "".join(f", {word}" for word in words)

    def check(self, device: str) -> None:
        """Raises what `choose` raises for a device or tools of this machine that cannot do it."""
        if self.precision == "bfloat16" and not has_bfloat16(device):
            name = torch.cuda.get_device_name(device)
            raise UserError(f"device {device!r} ({name}) does not compute in bfloat16; use --precision float32 or auto")
        if self.mode != "compile":
            return
        if device.startswith("cuda") and find_spec("triton") is None:
            raise UserError("engine compile needs the package triton for a GPU; install it, or use --engine eager")
        names = [os.environ.get("CXX", "g++"), "clang++", os.environ.get("CC", "gcc"), "cc"]
        if not any(shutil.which(name) for name in names):
            raise UserError("engine compile needs a C++ compiler (g++); install one, or use --engine eager")

    def _check_words(self, device: str) -> None:
        if self.mode == "graph" and not device.startswith("cuda"):
            raise UserError(f"engine graph needs a CUDA GPU, and the device is {device!r}; use --engine eager or auto")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Sets the switches of the process inside the block and puts them back: PyTorch's, and the precision.

        float32 means float32: TF32, cuDNN's default, is off.
        """
        cudnn = torch.backends.cudnn
        before = (
            torch.are_deterministic_algorithms_enabled(),
            cudnn.deterministic,
            cudnn.allow_tf32,
            applied_precision(),
        )
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the process first uses cuBLAS
        _switch(self.deterministic, self.deterministic, False, self.precision)
        try:
            yield
        finally:
            _switch(*before)

    @contextmanager
    def compiled(self, model: nn.Module) -> Iterator[None]:
        """Inside the block, calls of `model` itself are compiled, if this engine compiles; its weights stay in place.

        One graph a shape and mode: PyTorch goes back to eager, without a word, after a few recompilations of the same
        code, so every block starts afresh.
        """
        if self.mode != "compile":
            yield
            return
        torch.compiler.reset()
        # Inductor's own random numbers would be others than the eager ones.
        model.compile(dynamic=False, options={"fallback_random": True})
        try:
            yield
        finally:
            model._compiled_call_impl = None

    def paused(self) -> AbstractContextManager[None]:
        """Evaluation inside a compiled block is eager: its batch sizes are others, each good for a single pass."""
        return nullcontext() if self.mode != "compile" else torch.compiler.set_stance("force_eager")


_applied: Precision = "float32"  # of the process, like PyTorch's own switches: also for threads that a plug-in starts


def applied_precision() -> Precision:
    """That of the engine whose `applied` block is open; float32 outside of any."""
    return _applied


def has_bfloat16(device: str) -> bool:
    """True if a device computes in bfloat16: every CPU, if slowly, and NVIDIA GPUs since Ampere."""
    if not device.startswith("cuda"):
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _switch(deterministic: bool, cudnn_deterministic: bool, tf32: bool, precision: Precision) -> None:
    global _applied
    _applied = precision
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = cudnn_deterministic
    torch.backends.cudnn.allow_tf32 = tf32
