"""Every benchmark runs, at tiny size; what it measures there is not looked at."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import part
from .ratio import Row, Run, table


def _benchmarks() -> list[Callable[[Run], None]]:
    modules = [
        importlib.import_module(f"{__package__}.{path.stem}") for path in Path(__file__).parent.glob("bench_*.py")
    ]
    return [value for module in modules for name, value in sorted(vars(module).items()) if name.startswith("bench_")]


@pytest.mark.parametrize("benchmark_", _benchmarks(), ids=lambda function: function.__name__)
def test_every_benchmark_measures_something(benchmark_: Callable[[Run], None], tmp_path: Path) -> None:
    run = Run(part(benchmark_), tmp_path, tiny=True)
    benchmark_(run)
    assert run.row is not None, "it times nothing"
    assert run.row.part in table([run.row])


def test_the_table_says_what_was_reached() -> None:
    rows = [
        Row("fast", 100, [0.1, 0.2, 0.1], [0.5, 0.5, 0.4], 3, "ratio", "cpu", 2),
        Row("slow", 100, [2.0, 1.0, 2.0], [4.0, 4.0, 4.0], 3, "ratio", "cpu", 2, "why"),
        Row("start", 1, [0.3], [], 0.2, "seconds", "cuda", 1),
        Row("stages", 10, [1.0], [0.9], 0.05, "overhead", "cpu", 2),
    ]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(rows).splitlines()]
    assert cells[2] == ["fast", "100 ms", "500 ms", "4.0x (2.5x-5.0x)", "at least 3x", "yes", "100", "cpu", "2", "-"]
    assert cells[3] == ["slow", "2.00 s", "4.00 s", "2.0x (2.0x-4.0x)", "at least 3x", "no", "100", "cpu", "2", "why"]
    assert cells[4] == ["start", "300 ms", "-", "300 ms (300 ms-300 ms)", "under 200 ms", "no", "1", "cuda", "1", "-"]
    assert cells[5] == [
        "stages",
        "1.00 s",
        "900 ms",
        "10 ms (10 ms-10 ms)",
        "under 50 ms",
        "yes",
        "10",
        "cpu",
        "2",
        "-",
    ]
