"""How a stage computes, beyond its device: compiled or not, repeatable to the bit or not.

Neither is part of a key, for the same reason that the device is not: results differ by rounding alone (a compiled
network draws the same random numbers). Both are in every manifest, and in the name of the device beside every cost, so
that costs of different engines are never compared.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from bench.errors import UserError


@dataclass(frozen=True)
class Engine:
    """Plain data, sent with every job.

    Attributes:
        mode: `eager`, or `compile`: the networks that `bench.training.fit` trains go through torch.compile.
        deterministic: repeatable to the bit on the same machine; an operation that cannot be is an error.
    """

    mode: Literal["eager", "compile"] = "eager"
    deterministic: bool = False

    @property
    def label(self) -> str:
        """What is added to the name of a device: `, compiled, deterministic`; nothing for the default."""
        return (", compiled" if self.mode == "compile" else "") + (", deterministic" if self.deterministic else "")

    def check(self, device: str) -> None:
        """Raises UserError if the compiler has no tools for this device."""
        if self.mode != "compile":
            return
        if device.startswith("cuda") and find_spec("triton") is None:
            raise UserError("engine compile needs the package triton for a GPU; install it, or use --engine eager")
        names = [os.environ.get("CXX", "g++"), "clang++", os.environ.get("CC", "gcc"), "cc"]
        if not any(shutil.which(name) for name in names):
            raise UserError("engine compile needs a C++ compiler (g++); install one, or use --engine eager")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Sets PyTorch's global switches inside the block and puts them back.

        Convolutions that run in float32 beside bfloat16 ones were meant to: TF32, cuDNN's default, is off.
        """
        cudnn = torch.backends.cudnn
        before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.allow_tf32
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the process first uses cuBLAS
        _switch(self.deterministic, self.deterministic, False)
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
        if self.mode == "eager":
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
        return nullcontext() if self.mode == "eager" else torch.compiler.set_stance("force_eager")


def _switch(deterministic: bool, cudnn_deterministic: bool, tf32: bool) -> None:
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = cudnn_deterministic
    torch.backends.cudnn.allow_tf32 = tf32
