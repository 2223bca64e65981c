"""Source digest of a component: what its results depend on besides its parameters.

Covers the file that defines it, every module of the same top-level package it reaches by imports, the modules of the
core that compute numbers (`bench.training`), and data files: `data/NAME*` beside a module `NAME.py`. The rest of the
core is covered by the schema epoch, which is raised by hand when a change there changes results.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

_NUMBERS_OF_THE_CORE = ("bench.training",)


@functools.cache
def source_digest(module: str) -> str:
    """sha256 over the names and contents of all files a module's results depend on, hexadecimal."""
    files = _closure(module)
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0".encode() + files[name].read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return total.hexdigest()


def _closure(module: str) -> dict[str, Path]:
    package = module.partition(".")[0]
    files: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        path = _file_of(name)
        if name in files or path is None:
            continue
        files[name] = path
        for data in path.parent.glob(f"data/{path.stem}[-._]*"):
            files[f"{name}:{data.name}"] = data
        for imported in _imports(path, name):
            if imported in _NUMBERS_OF_THE_CORE or imported.partition(".")[0] == package != "bench":
                pending.append(imported)
    return files


def _file_of(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            return None
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _imports(path: Path, module: str) -> Iterator[str]:
    """Names of the modules a file imports; `from a import b` yields both `a` and `a.b`, b may be a module."""
    is_package = path.stem == "__init__"
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                anchor = parents[: len(parents) - node.level + is_package]
                base = ".".join([*anchor, base] if base else anchor)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
