"""Source digest of a component: what its results depend on besides its parameters.

Covers the file that defines it, every module it reaches by imports inside its own package or outside of installed
packages (a helper next to a plug-in file), the modules of `bench.training` where it imports them, because they compute
numbers, and data files: `data/NAME*` next to a module `NAME.py` or inside a package `NAME`. The rest of the core is
covered by the schema epoch, which is raised by hand when a change there changes results. Installed libraries are not
covered; their versions are in the manifest.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_NUMBERS_OF_THE_CORE = "bench.training"
_CONTENTS: dict[Path, bytes] = {}  # as first read, which is what this process has imported


@functools.cache
def source_digest(module: str) -> str:
    """sha256 over the names and contents of all files a module's results depend on, hexadecimal."""
    return _digest(_closure(module))


def digest_of_file(path: Path, module: str) -> tuple[str, bool]:
    """The source digest of a plug-in file that is not imported; its helpers are files next to it.

    Args:
        path: of the file.
        module: its name when `--plugin` imports it.

    Returns:
        The digest, and whether it covers files of this repository too: then it is that of this checkout.

    Raises:
        ValueError: if a file is no Python source.
    """
    folder = path.parent

    def next_to_it(name: str) -> Path | None:
        if of_this_repository(name):
            return _file_of(name)
        inner = folder / Path(*name.split("."))
        places = (path,) if name == module else (inner.with_suffix(".py"), inner / "__init__.py")
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            _CONTENTS.pop(found, None)
        return found

    try:
        files = _closure(module, next_to_it, lambda top: of_this_repository(top) or next_to_it(top) is not None)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no Python source ({type(error).__name__})") from error
    return _digest(files), any(of_this_repository(name) for name in files)


def _digest(files: Mapping[str, Path]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0".encode() + _content(files[name]).replace(b"\r\n", b"\n") + b"\0")
    return total.hexdigest()


def modules_of(module: str) -> list[str]:
    """The modules that `source_digest` covers, without those of the core."""
    return sorted(name for name in _closure(module) if ":" not in name and name.partition(".")[0] != "bench")


def of_this_repository(module: str) -> bool:
    """True unless a module belongs to a plug-in file, a helper of one, or another distribution."""
    return module.partition(".")[0] in ("bench", "attacks", "defenses", "victims")


def files_of(module: str) -> dict[str, Path]:
    """The files that `source_digest` covers, without those of this repository: its own first, then helpers and data.

    Their names are paths from the folder of the module's own file; that of a helper from elsewhere is its module's.
    """
    files = {name: path for name, path in _closure(module).items() if not of_this_repository(name)}
    folder = files[module].parent
    return {
        str(path.relative_to(folder) if path.is_relative_to(folder) else Path(*name.split("."), path.name)): path
        for name, path in files.items()
    }


def imports_of(module: str) -> list[str]:
    """Imports from elsewhere in the modules of `modules_of`, anywhere in their code; names that are no module too."""
    own = modules_of(module)
    files = _closure(module)
    return sorted({imported for name in own for imported in _imports(files[name], name)} - set(own))


@functools.cache
def load_imports(module: str) -> None:
    """Imports all that a component imports, inside of its functions too: loading a library is no cost of the method."""
    for name in imports_of(module):
        with suppress(Exception):  # optional, or the name of a class
            importlib.import_module(name)


def _closure(
    module: str, find: Callable[[str], Path | None] | None = None, is_local: Callable[[str], bool] | None = None
) -> dict[str, Path]:
    find, is_local = find or _file_of, is_local or _is_local
    package = module.partition(".")[0]
    files: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        path = find(name)
        if name in files or path is None:
            continue
        files[name] = path
        stem = path.parent.name if path.stem == "__init__" else path.stem
        for data in path.parent.glob(f"data/{stem}[-._]*"):
            files[f"{name}:{data.name}"] = data
        for imported in _imports(path, name):
            top = imported.partition(".")[0]
            if f"{imported}.".startswith(f"{_NUMBERS_OF_THE_CORE}.") or (
                top != "bench" and (top == package or is_local(top))
            ):
                pending.append(imported)
    return files


def forget(path: Path) -> None:
    """Reads this file anew: it was edited and imported again (a plug-in file in a long-lived process)."""
    _CONTENTS.pop(path, None)
    source_digest.cache_clear()


def _content(path: Path) -> bytes:
    if path not in _CONTENTS:
        _CONTENTS[path] = path.read_bytes()
    return _CONTENTS[path]


@functools.cache
def _is_local(top: str) -> bool:
    """True if a top-level module is neither of the standard library nor installed."""
    if top in sys.stdlib_module_names:
        return False
    path = _file_of(top)
    return path is not None and not {"site-packages", "dist-packages"} & set(path.parts)


def _file_of(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ModuleNotFoundError, ValueError):
            return None
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _imports(path: Path, module: str) -> Iterator[str]:
    """Names of the modules a file imports; `from a import b` yields both `a` and `a.b`, b may be a module."""
    is_package = path.stem == "__init__"
    for node in ast.walk(ast.parse(_content(path))):
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
