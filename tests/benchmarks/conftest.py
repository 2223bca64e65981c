"""`make bench`: every benchmark at full size under pytest-benchmark, then one table."""

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from bench.measure.cost import device_name

from .ratio import Row, Run, table

_ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """For the benchmark that asks for it."""
    made = Run(part(request.function), tmp_path, tiny=False, benchmark=request.getfixturevalue("benchmark"))
    yield made
    if made.row is not None:
        request.config.stash.setdefault(_ROWS, []).append(made.row)


def part(function: Callable[..., object]) -> str:
    """A benchmark's name in the table: the first line of its docstring, without the full stop."""
    return (function.__doc__ or function.__name__).strip().splitlines()[0].removesuffix(".")


def _hardware() -> dict[str, str]:
    return {
        "device": device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "cpus": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    machine_info.update(_hardware())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if rows:
        terminalreporter.section("ours beside the plain way, interleaved")
        terminalreporter.write_line(", ".join(f"{name} {value}" for name, value in _hardware().items()))
        terminalreporter.write_line(table(rows))
