"""What a release states in several places agrees, and the packages import only what they declare."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bench

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("bench", "attacks", "defenses", "victims", "leaderboard")
EXTRAS = {"ray": "ray", "matplotlib": "figures"}
"""Imported where they are used, with a message that names the extra."""


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("CITATION.cff", r"^version: (\S+)$"),
        ("README.md", r"version = \{(\S+)\}"),
        ("CHANGELOG.md", r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$"),
    ],
)
def test_the_version_is_the_same_everywhere(file: str, pattern: str) -> None:
    (first, *_) = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert first == bench.__version__ == PROJECT["version"]


def test_every_imported_package_is_declared() -> None:
    declared = {Requirement(text).name.lower().replace("_", "-") for text in PROJECT["dependencies"]}
    imported = {
        name.partition(".")[0]: path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _names(node)
    }
    foreign = {name: path for name, path in imported.items() if name not in {*PACKAGES, *sys.stdlib_module_names}}
    assert {"torch", "jinja2"} <= set(foreign)
    owners = packages_distributions()
    unknown = {
        name: str(path.relative_to(ROOT))
        for name, path in foreign.items()
        if name not in EXTRAS and not declared & {owner.lower().replace("_", "-") for owner in owners.get(name, [])}
    }
    assert not unknown


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_extras_are_declared() -> None:
    for package, extra in EXTRAS.items():
        assert package in {Requirement(text).name for text in PROJECT["optional-dependencies"][extra]}
