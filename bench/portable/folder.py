"""The layout of an exported folder, and how one is written: a store without tensors, with the sha256 of every file.

    export.json                                         format, schema, plug-ins, sha256 of every other file
    store.json, cells/<key>.json                        as in a store
    artifacts/<stage>/<k2>/<key>/manifest.json          as in a store
    artifacts/<stage>/<k2>/<key>/manifest-<12>.json     the same artifact, measured elsewhere (`bench merge`)
    artifacts/<stage>/<k2>/<key>/data.safetensors       if asked for
    plugins/                                            source of components that this repository does not have

So `bench publish` and `bench show` read it as they read a store. The same cells give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import mkdtemp

from bench import __version__
from bench.errors import UserError, of_the_machine
from bench.plan.keys import SCHEMA_EPOCH
from bench.store.artifacts import INDEX
from bench.store.results import SCHEMA_VERSION

FORMAT = 1


@dataclass(frozen=True)
class Plugin:
    """A file with components that this repository does not have.

    Attributes:
        file: its path in the folder.
        components: `defense my-median` -> digest of its source, as in the keys of artifacts.
    """

    file: str
    components: dict[str, str]


@dataclass(frozen=True)
class Index:
    """The content of `export.json`.

    Attributes:
        format: version of the layout.
        release: of the package that wrote it.
        schema_version: of cells and manifests.
        schema_epoch: of the keys of artifacts.
        plugins: files to give with `--plugin` to compute the cells again.
        files: path -> sha256, of all other files.
    """

    format: int = FORMAT
    release: str = __version__
    schema_version: int = SCHEMA_VERSION
    schema_epoch: int = SCHEMA_EPOCH
    plugins: list[Plugin] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


def manifest_path(stage: str, key: str) -> str:
    """Path of an artifact's manifest, in a store and in an exported folder."""
    return f"artifacts/{stage}/{key[:2]}/{key}/manifest.json"


def json_bytes(value: object) -> bytes:
    """A value as the store writes it."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def check_target(out: Path) -> None:
    """Says before any work whether `write_export` may write there.

    Raises:
        UserError: if it is a file, or holds files that no export wrote.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"--out {out}: is a file; choose another folder")
    present = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    try:
        ours = {INDEX, *json.loads((out / INDEX).read_text(encoding="utf-8"))["files"]} if present else set()
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    if foreign := sorted(present - ours):
        raise UserError(
            f"--out {out}: holds files that no export wrote ({', '.join(foreign[:3])}), and an export replaces the "
            "whole folder; choose a new or empty one"
        )


def write_export(out: Path, contents: Mapping[str, bytes | Path], plugins: list[Plugin]) -> None:
    """Makes `out` hold exactly these files and their index. It is written under another name and renamed.

    Args:
        out: a folder that does not exist, is empty, or was exported before.
        contents: by relative path, the bytes or a file to copy.
        plugins: see `Index`.

    Raises:
        UserError: if the folder cannot be written; it is then as it was.
    """
    check_target(out)
    workplace: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
        new = workplace / "new"
        contents = {"store.json": json_bytes({"schema_version": SCHEMA_VERSION}), **contents}
        files = {name: _write(new / name, content) for name, content in sorted(contents.items())}
        (new / INDEX).write_bytes(json_bytes(asdict(Index(plugins=plugins, files=files))))
        if out.exists():
            out.rename(workplace / "old")
        new.rename(out)
    except OSError as error:
        if workplace is not None and (workplace / "old").exists() and not out.exists():
            (workplace / "old").rename(out)
        problem = of_the_machine(error) or f"{error}; choose a folder that can be written"
        raise UserError(f"--out {out}: {problem}") from error
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes | Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
        return sha256_of(path)
    path.write_bytes(content)
    return sha256(content).hexdigest()
