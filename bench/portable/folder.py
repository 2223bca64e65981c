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

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import __version__
from bench.plan.keys import SCHEMA_EPOCH
from bench.store.artifacts import MANIFEST_FILE
from bench.store.atomic_folder import INDEX, write_folder
from bench.store.results import SCHEMA_VERSION, artifact_path, json_text

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
    return f"{artifact_path(stage, key)}/{MANIFEST_FILE}"


def json_bytes(value: object) -> bytes:
    """A value as the store writes it."""
    return json_text(value).encode()


def write_export(out: Path, contents: Mapping[str, bytes | Path], plugins: list[Plugin]) -> None:
    """Makes `out` hold exactly these files and their index.

    Args:
        out: see `write_folder`.
        contents: see `write_folder`.
        plugins: see `Index`.

    Raises:
        UserError: if the folder cannot be written; it is then as it was.
    """
    store = {"store.json": json_bytes({"schema_version": SCHEMA_VERSION})}
    write_folder(out, {**store, **contents}, INDEX, asdict(Index(plugins=plugins)))
