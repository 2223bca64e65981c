"""The real command, in this process (quick) or in one of its own (kill, signals, executors)."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.cli.main import main

TINY = ["--dataset", "shapes:train=64:test=32", "--victims", "linear:epochs=2", "--preset", "demo", "--threads", "1"]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def bench(capfd, monkeypatch, tmp_path) -> Callable[..., Ended]:
    """`bench("run", ...)` in an empty working folder; returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        return Ended(int(stop.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def start(tmp_path) -> Callable[..., subprocess.Popen]:
    """The same in a process of its own."""

    def call(*arguments: str | Path) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call
