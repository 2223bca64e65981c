"""The arrows of the design: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "attacks", "defenses", "victims", "leaderboard")

ALLOWED_OF_BENCH = {
    "attacks": {
        "bench.api",
        "bench.registry",
        "bench.errors",
        "bench.training",
        "bench.crops",
        "bench.pgd",
        "bench.inputs",
    },
    "defenses": {"bench.api", "bench.registry", "bench.errors", "bench.training", "bench.crops", "bench.pgd"},
    "victims": {"bench.api", "bench.registry", "bench.errors", "bench.training"},
    "leaderboard": {"bench.results", "bench.scores", "bench.errors", "bench.presets", "bench.docstrings"},
}
MAY_PUBLISH = {"bench/cli.py", "bench/runner.py", "bench/show.py"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", list(ALLOWED_OF_BENCH))
def test_plug_ins_and_leaderboard_import_only_what_they_may(package):
    for path in modules(package):
        for name in imports(path):
            top = name.partition(".")[0]
            if top == "bench":
                assert name in ALLOWED_OF_BENCH[package], f"{path} imports {name}"
            elif top in PACKAGES:
                assert top == package, f"{path} imports {name}"


def test_the_core_imports_no_plug_in_and_publishes_only_at_the_edge():
    for path in modules("bench"):
        relative = str(path.relative_to(ROOT))
        for name in imports(path):
            top = name.partition(".")[0]
            assert top not in ("attacks", "defenses", "victims"), f"{relative} imports {name}"
            assert top != "leaderboard" or relative in MAY_PUBLISH, f"{relative} imports {name}"


@pytest.mark.parametrize(
    "module",
    ["leaderboard.publish", "leaderboard.terminal", "leaderboard.contact_sheet", "bench.cli", "bench.results"],
)
def test_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_module_is_too_long():
    for package in PACKAGES:
        for path in modules(package):
            assert len(path.read_text().splitlines()) <= 400, path
