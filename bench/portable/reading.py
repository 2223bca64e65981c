"""Reading an exported folder that a stranger made: nothing is imported or unpickled, and no path leaves the folder."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.portable.folder import Index
from bench.store.atomic_folder import INDEX, sha256_of
from bench.store.results import CellResult, Manifest, cell_of, of_json

_MIB = 1 << 20
_ARTIFACT = r"artifacts/(?P<stage>poison|purify|train)/(?P<k2>[0-9a-f]{2})/(?P<key>(?P=k2)[0-9a-f]{62})"
LAYOUT = {
    re.escape(INDEX): 32 * _MIB,
    r"store\.json": _MIB,
    r"cells/[0-9a-f]{20}\.json": 4 * _MIB,
    rf"{_ARTIFACT}/manifest(-[0-9a-f]{{12}})?\.json": 4 * _MIB,
    rf"{_ARTIFACT}/data\.safetensors": 1 << 36,
    r"plugins/(\w[\w-]*/)*\w[\w.-]*": 4 * _MIB,
}
"""Files that a folder may hold, and the largest size of each in bytes."""
_MOST_FILES = 200_000


@dataclass
class Export:
    """The content of an exported folder.

    Attributes:
        root: the folder.
        index: of the folder, or None if it could not be read.
        cells: by path in the folder.
        manifests: (stage, key) -> path in the folder -> manifest; several after a merge, `manifest.json` first.
        problems: `FILE: FIELD: why`, what must not be there, or is not as it was exported.
    """

    root: Path
    index: Index | None = None
    cells: dict[str, CellResult] = field(default_factory=dict)
    manifests: dict[tuple[str, str], dict[str, Manifest]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_export(root: Path) -> Export:
    """Reads a folder as far as that can be done safely; what is wrong with it is in `problems`."""
    export = Export(root)
    paths = sorted(_files(root, export.problems))
    if export.problems:
        return export
    if INDEX not in paths:
        export.problems.append(f"{INDEX}: is missing; a folder of `bench export` has one")
        return export
    try:
        export.index = _parsed(root / INDEX, Index)
    except ValueError as error:
        export.problems.append(f"{INDEX}: {error}")
        return export
    export.problems += _index_problems(export.index, root, paths)
    for path in paths:
        try:
            if path.startswith("cells/"):
                export.cells[path] = _parsed(root / path, CellResult)
            elif (found := re.fullmatch(rf"{_ARTIFACT}/manifest.*", path)) is not None:
                of_artifact = export.manifests.setdefault((found["stage"], found["key"]), {})
                of_artifact[path] = _parsed(root / path, Manifest)
        except ValueError as error:
            export.problems.append(f"{path}: {error}")
    for of_artifact in export.manifests.values():
        for path in sorted(of_artifact, key=len):
            of_artifact[path] = of_artifact.pop(path)
    return export


def _files(root: Path, problems: list[str]) -> Iterator[str]:
    """Relative paths of all files; links, special files, other names and sizes above the limit are problems."""
    if root.is_symlink() or not root.is_dir():
        problems.append(f"{root}: is {'a link; name the folder itself' if root.is_symlink() else 'no folder'}")
        return
    pending, count = [root], 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                count += 1
                name = Path(entry.path).relative_to(root).as_posix()
                if count > _MOST_FILES:
                    problems.append(f"over {_MOST_FILES:,} files; split the folder")
                    return
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    continue
                limit = next((size for pattern, size in LAYOUT.items() if re.fullmatch(pattern, name, re.ASCII)), None)
                if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
                    problems.append(f"{name!a}: is no plain file (a link, a pipe); an exported folder has none")
                elif limit is None:
                    problems.append(f"{name!a}: is no file of an exported folder; remove it")
                elif entry.stat(follow_symlinks=False).st_size > limit:
                    problems.append(f"{name}: is larger than {limit / _MIB:g} MiB")
                yield name


def _index_problems(index: Index, root: Path, paths: list[str]) -> Iterator[str]:
    """Differences between what `export.json` says and what is there."""
    ours = Index()
    for name in ("format", "schema_version", "schema_epoch"):
        if (found := getattr(index, name)) != (expected := getattr(ours, name)):
            yield (
                f"{INDEX}: {name}: {found}, this release checks {expected}; use the release that wrote it "
                f"({index.release!a}), or run the matrix again with this one"
            )
    present = set(paths) - {INDEX}
    for name in sorted(present ^ set(index.files)):
        yield f"{name!a}: " + (f"is not listed in {INDEX}" if name in present else f"is missing; {INDEX} lists it")
    for name in sorted(present & set(index.files)):
        if (found := sha256_of(root / name)) != index.files[name]:
            yield f"{name}: sha256: {found[:12]}..., {INDEX} has {index.files[name][:12]!a}; changed after the export"
    for number, plugin in enumerate(index.plugins):
        if not plugin.file.startswith("plugins/") or plugin.file not in present:
            yield f"{INDEX}: plugins.{number}.file: {plugin.file!a} is no file of plugins/"


def _parsed(path: Path, kind: type[Any]) -> Any:
    """A dataclass of a JSON file that has all of its fields and no others.

    Raises:
        ValueError: `field: why`.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        raw = json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once)
        value = cell_of(text) if kind is CellResult else of_json(kind, text)
        difference = _difference(raw, asdict(value))
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if difference:
        raise ValueError(difference)
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!a} stands twice in one object")
    return found


def _difference(raw: Any, read: Any, place: str = "") -> str:
    """The first field that is in one of two values alone; their types are known to fit."""
    if isinstance(raw, dict) and isinstance(read, dict):
        for name in sorted(raw.keys() ^ read.keys()):
            return f"{place}{name}: " + ("is no field" if name in raw else "is missing")
        inner = ((raw[name], read[name], f"{place}{name}.") for name in raw)
    elif isinstance(raw, list) and isinstance(read, list):
        inner = ((one, other, f"{place}{number}.") for number, (one, other) in enumerate(zip(raw, read, strict=True)))
    else:
        return ""
    return next(filter(None, (_difference(*values) for values in inner)), "")
