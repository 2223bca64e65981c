"""State of the process that a stage's plug-in must not leave to the stages after it: put back, and named in a warning.

What a plug-in sets when it is imported stays. `Engine.applied` sets and restores what belongs to the engine, outside of
this; the working folder is restored in any case.
"""

from __future__ import annotations

import locale
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_BY_COMPILING = ("TORCH", "TRITON")  # variables that PyTorch's compiler sets for itself


@contextmanager
def restored(warned: Counter[str]) -> Iterator[None]:
    """Puts back what the block changed in `_STATE`, and adds one warning that names all of it.

    Not after Ctrl-C or a signal: its handler may have changed the handlers, and no stage follows.

    Args:
        warned: the warnings of the stage, counted.
    """
    before = {what: read() for what, (read, _) in _STATE.items()}
    stopped = False
    try:
        yield
    except KeyboardInterrupt:
        stopped = True
        raise
    finally:
        if not stopped:
            _put_back(before, warned)


def _put_back(before: dict[str, Any], warned: Counter[str]) -> None:
    changed = []
    for what, (read, write) in _STATE.items():
        if read() != before[what]:
            write(before[what])
            changed.append(what)
    if changed:
        warned[f"the stage changed for all stages after it, and the harness put back: {', '.join(changed)}"] += 1


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def _set_cudnn(flags: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = flags


def _torch_numbers() -> list[int]:
    numbers: list[int] = torch.get_rng_state().tolist()
    return numbers


def _set_torch_numbers(numbers: list[int]) -> None:
    torch.set_rng_state(torch.tensor(numbers, dtype=torch.uint8))


def _numpy_numbers() -> tuple[Any, ...]:
    kind, numbers, *rest = np.random.get_state()
    return kind, tuple(numbers), *rest


def _set_numpy_numbers(state: tuple[Any, ...]) -> None:
    np.random.set_state(state)


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_BY_COMPILING)}


def _set_variables(variables: dict[str, str]) -> None:
    for name in _variables().keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other can have changed one
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)


def _set_path(folders: list[str]) -> None:
    sys.path[:] = folders


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _set_locale(name: str) -> None:
    locale.setlocale(locale.LC_ALL, name)


# In this order: what makes tensors needs the default device.
_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's default device": (torch.get_default_device, _set_default_device),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic algorithms": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "cuDNN's flags": (_cudnn, _set_cudnn),
    "torch's precision of float32 products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch's anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch's global generator (draw from ctx.generator)": (_torch_numbers, _set_torch_numbers),
    "NumPy's global generator (draw from ctx.generator)": (_numpy_numbers, _set_numpy_numbers),
    "Python's global generator (draw from ctx.generator)": (random.getstate, random.setstate),
    "NumPy's handling of errors": (np.geterr, lambda kinds: np.seterr(**kinds)),
    "environment variables": (_variables, _set_variables),
    "sys.path": (lambda: list(sys.path), _set_path),
    "handlers of signals": (_handlers, _set_handlers),
    "the locale": (_locale, _set_locale),
}
