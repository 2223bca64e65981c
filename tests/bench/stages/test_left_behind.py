"""What a stage leaves behind in the process is put back and named, and nothing else is."""

import locale
import os
import random
import signal
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from bench.stages.left_behind import _STATE, restored

CHANGES = {
    "torch's default device": lambda: torch.set_default_device("meta"),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's gradient mode": lambda: torch.set_grad_enabled(False),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "cuDNN's flags": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "torch's precision of float32 products": lambda: torch.set_float32_matmul_precision("medium"),
    "torch's anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "torch's global generator (draw from ctx.generator)": lambda: torch.manual_seed(9),
    "NumPy's global generator (draw from ctx.generator)": lambda: np.random.seed(9),
    "Python's global generator (draw from ctx.generator)": lambda: random.seed(9),
    "NumPy's handling of errors": lambda: np.seterr(all="ignore"),
    "environment variables": lambda: os.environ.update(LEFT_BEHIND="1"),
    "sys.path": lambda: sys.path.insert(0, "/left/behind"),
    "handlers of signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "the locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C"),
}


def state():
    return {what: read() for what, (read, _) in _STATE.items()}


def left(*changes):
    warned = Counter()
    with warnings.catch_warnings(), restored(warned):
        warnings.simplefilter("ignore")
        for change in changes:
            change()
    return warned


@pytest.mark.parametrize("what", _STATE)
def test_a_change_is_put_back_and_named(what):
    before = state()
    (text,) = left(CHANGES[what])
    assert text.endswith(f"put back: {what}")
    assert state() == before


def test_all_changes_are_one_warning_and_no_change_is_none():
    before = state()
    assert left() == {}
    (text,) = left(*CHANGES.values())
    assert all(what in text for what in _STATE)
    assert state() == before


def test_changes_are_put_back_after_an_error():
    def fails():
        torch.set_grad_enabled(False)
        raise KeyError

    with pytest.raises(KeyError):
        left(fails)
    assert torch.is_grad_enabled()


def test_the_handlers_that_a_stop_sets_stay():
    before = signal.getsignal(signal.SIGTERM)

    def stops():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            left(stops)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
