"""The meter where the GPU's own counters cannot be read."""

import sys

import torch

from bench.cost import _GpuBoard


def test_without_nvml_the_board_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert _GpuBoard.open(torch.device("cuda")) is None
