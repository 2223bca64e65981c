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
        "bench.training.crops",
        "bench.training.moves",
        "bench.training.pgd",
        "bench.training.surrogates",
        "bench.datasets.inputs",
        "bench.datasets.tensor_files",
    },
    "defenses": {
        "bench.api",
        "bench.registry",
        "bench.errors",
        "bench.training",
        "bench.training.blocks",
        "bench.training.crops",
        "bench.training.pgd",
    },
    "victims": {"bench.api", "bench.registry", "bench.errors", "bench.training", "bench.datasets.tensor_files"},
    "leaderboard": {
        "bench.store.atomic_folder",
        "bench.store.results",
        "bench.store.scores",
        "bench.errors",
        "bench.formats",
        "bench.select.presets",
        "bench.select.docstrings",
        "bench.select.grammar",
    },
}
MAY_PUBLISH = ("bench/cli/", "bench/run/python.py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            rooms = {alias.name for alias in node.names if (ROOT / node.module / f"{alias.name}.py").exists()}
            found |= {f"{node.module}.{room}" for room in rooms} or {node.module}
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
            assert top != "leaderboard" or relative.startswith(MAY_PUBLISH), f"{relative} imports {name}"


def test_rooms_form_no_circle_and_no_arrow_points_up():
    """Rooms are the folders and files right under a package; each may import only rooms listed before it."""
    order = {
        "bench": "errors formats registry store api select training measure datasets stages plan run portable check "
        "cli __main__",
        "leaderboard": "tables published export site figures publish",
    }
    for package, listed in order.items():
        floors = {room: floor for floor, room in enumerate(listed.split())}
        for path in modules(package):
            if path.parent == ROOT / package and path.stem == "__init__":
                continue
            room = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
            for name in imports(path):
                top, _, rest = name.partition(".")
                other = rest.partition(".")[0]
                if top == package and other and other != room:
                    assert floors[other] < floors[room], f"{path} imports {name}"


@pytest.mark.parametrize(
    "module",
    [
        "leaderboard.publish",
        "leaderboard.export.terminal",
        "leaderboard.site.contact_sheet",
        "bench",
        "bench.cli.main",
        "bench.store.results",
        "bench.formats",
    ],
)
def test_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_module_is_too_long():
    for package in PACKAGES:
        for path in modules(package):
            assert len(path.read_text().splitlines()) <= 400, path
