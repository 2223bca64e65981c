"""The artifact store: content-addressed folders, written under another name and renamed, verified before use.

    store/store.json                                  schema version of the whole store
    store/artifacts/<stage>/<k2>/<key>/data.safetensors + manifest.json
    store/cells/<key>.json
    store/logs/<stage>-<key>.txt                      what was printed during a stage, if anything was
    store/running/<stage>-<key>.txt                   a job that runs in the command's own process, see running.py
    store/plans/<digest>.json                         what a run that has not ended wants to have
    store/run.lock                                    held by runs, and by the collection of garbage

A process that dies leaves its plan, and at most a folder under `store/partial` and a hidden file beside a cell or a
plan, which nobody reads and the next run removes. `bench cache gc` keeps what the next run can continue with. No
pickle is ever written or read.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.errors import UserError, of_the_machine
from bench.store.atomic_folder import INDEX
from bench.store.data_files import DataFile, read_head, write_tensors
from bench.store.fingerprint import Fingerprint
from bench.store.locks import exclusive, held, shared
from bench.store.results import SCHEMA_VERSION, Cost, Manifest, artifact_path, write_json

MANIFEST_FILE = "manifest.json"
DATA_FILE = "data.safetensors"
_VERIFIED: dict[Path, tuple[int, int, int]] = {}  # data files that this process has written or verified

State = Literal["valid", "absent", "damaged"]


class DamagedArtifactError(Exception):
    """An artifact's data does not match its checksum, or its manifest is unreadable."""


class Store:
    """A folder of artifacts and cells.

    Args:
        root: the folder.
        create: make it if it is not there; else it reads as empty.

    Raises:
        UserError: if the folder was written with another schema version, or cannot be written.
    """

    def __init__(self, root: Path, create: bool = True) -> None:
        self.root = root
        self.cells = root / "cells"
        marker = root / "store.json"
        try:
            if marker.is_file():
                version = json.loads(marker.read_text(encoding="utf-8")).get("schema_version")
                if version != SCHEMA_VERSION:
                    raise UserError(
                        f"store {root} was written with schema version {version}, this release uses {SCHEMA_VERSION}; "
                        "give another folder with --store, or use the release that wrote it"
                    )
            elif create:
                self.cells.mkdir(parents=True, exist_ok=True)
                write_json(marker, {"schema_version": SCHEMA_VERSION})
        except (OSError, ValueError, AttributeError) as error:
            problem = of_the_machine(error) or f"not usable ({error})"
            raise UserError(f"store {root}: {problem}; give another folder with --store") from error

    @property
    def exported(self) -> bool:
        """True if the folder was exported from a store: it has cells and manifests, and nothing is computed in it."""
        return (self.root / INDEX).is_file()

    @functools.cached_property
    def read_only(self) -> bool:
        """True if nothing can be written into the folder."""
        try:
            (self.root / "run.lock").open("ab").close()
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return True
            raise
        return False

    def in_use(self) -> AbstractContextManager[None]:
        """Held by a run and by every job: garbage is not collected meanwhile. A store that is read-only has no lock."""
        return nullcontext() if self.read_only else shared(self.root / "run.lock")

    def alone(self) -> AbstractContextManager[None]:
        """Held while garbage is collected: refused while a run is active.

        Raises:
            UserError: if a run is active, or the store is read-only.
        """
        if self.read_only:
            raise UserError(f"store {self.root} is read-only: nothing can be deleted from it")
        return exclusive(self.root / "run.lock")

    @property
    def busy(self) -> bool:
        """True if a run, or a job of one, works in the store."""
        return not self.read_only and held(self.root / "run.lock")

    def tidy(self) -> bool:
        """Removes what killed runs left half-written, unless somebody works in the store; returns whether it did."""
        with suppress(UserError), self.alone():
            self.clean_partial()
            return True
        return False

    def begin_plan(self, name: str, wanted: Iterable[tuple[str, str]]) -> None:
        """Notes the artifacts (stage, key) that a run is going to make or use."""
        write_json(self.root / "plans" / f"{name}.json", sorted(wanted))

    def end_plan(self, name: str) -> None:
        """The run has ended: its cells name what they use."""
        (self.root / "plans" / f"{name}.json").unlink(missing_ok=True)

    def planned(self) -> dict[Path, set[tuple[str, str]]]:
        """By plan that has not ended, what it wants.

        Raises:
            UserError: if a plan cannot be read.
        """
        found = {}
        for path in sorted(self.root.glob("plans/*.json")):
            try:
                found[path] = {(stage, key) for stage, key in json.loads(path.read_text(encoding="utf-8"))}
            except (OSError, ValueError, TypeError) as error:
                raise UserError(f"{path}: not a readable plan ({error}); delete it") from error
        return found

    def folder(self, stage: str, key: str) -> Path:
        """Folder of an artifact."""
        return self.root / artifact_path(stage, key)

    def log(self, stage: str, key: str) -> Path:
        """Log file of a stage, if something was printed."""
        return self.root / "logs" / f"{stage}-{key[:20]}.txt"

    def running(self, stage: str, key: str) -> Path:
        """Note of a job that runs in the command's own process, while it does."""
        return self.root / "running" / f"{stage}-{key[:20]}.txt"

    def scratch(self) -> Path:
        """A new empty folder for a running stage."""
        path = self.root / "partial" / uuid.uuid4().hex
        path.mkdir(parents=True)
        return path

    def state(self, stage: str, key: str) -> State:
        """True if the artifact is there and its data matches its checksum (reads all of it)."""
        if not self.folder(stage, key).is_dir():
            return "absent"
        try:
            manifest = self.manifest(stage, key)
            if manifest.checksum or not manifest.alias_of:
                self._data(stage, key, manifest, again=True)
        except DamagedArtifactError:
            return "damaged"
        return "valid"

    def manifest(self, stage: str, key: str) -> Manifest:
        """The manifest of an artifact.

        Raises:
            DamagedArtifactError: if it is unreadable or belongs to another key.
        """
        path = self.folder(stage, key) / MANIFEST_FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            manifest = Manifest(**{**raw, "cost": Cost(**raw["cost"])})
        except FileNotFoundError as error:
            raise self._gone(stage, key) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedArtifactError(f"{path}: {error}") from error
        if manifest.key != key or manifest.stage != stage:
            raise DamagedArtifactError(f"{path}: belongs to {manifest.stage} {manifest.key}")
        return manifest

    def read(self, stage: str, key: str) -> dict[str, Tensor]:
        """The tensors of an artifact, memory-mapped; an alias has none but samples. Data is verified once a process.

        Raises:
            DamagedArtifactError: if the data does not match the checksum.
        """
        manifest = self.manifest(stage, key)
        data = self._data(stage, key, manifest)
        try:
            with safe_open(data, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise DamagedArtifactError(f"{data}: {error}") from error

    def fingerprint(self, stage: str, key: str) -> Fingerprint | None:
        """Digest of the stored images, from the manifest; None if an older release stored them."""
        manifest = self.manifest(stage, key)
        if not manifest.images_digest:
            return None
        return Fingerprint(read_head(self._data(stage, key, manifest)), manifest.images_digest)

    def put(self, tensors: Mapping[str, Tensor]) -> DataFile:
        """Writes the tensors of an artifact into a folder that nobody reads; `keep` puts it in its place."""
        folder = self.scratch()
        try:
            return write_tensors(folder / DATA_FILE, tensors)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def keep(self, data: DataFile, manifest: Manifest) -> None:
        """Makes an artifact of a data file and its manifest. An artifact of the same key is replaced."""
        folder, target = data.path.parent, self.folder(manifest.stage, manifest.key)
        try:
            write_json(folder / MANIFEST_FILE, asdict(manifest))
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(self.scratch() / "replaced")
            folder.rename(target)
            if data.size:
                _VERIFIED[(target / DATA_FILE).absolute()] = _identity(target / DATA_FILE)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """(stage, key) of everything stored."""
        for path in sorted(self.root.glob("artifacts/*/*/*")):
            yield path.parts[-3], path.name

    def remove(self, stage: str, key: str) -> None:
        """Deletes one artifact, and its log."""
        shutil.rmtree(self.folder(stage, key))
        self.log(stage, key).unlink(missing_ok=True)

    def clean_partial(self) -> int:
        """Deletes what interrupted runs left behind; returns the bytes freed. Only while `alone` is held."""
        partial = self.root / "partial"
        halves = [*self.root.glob("cells/.*.json.*"), *self.root.glob("plans/.*.json.*")]
        freed = sum(file.stat().st_size for file in (*partial.rglob("*"), *halves) if file.is_file())
        shutil.rmtree(partial, ignore_errors=True)
        for half in halves:
            half.unlink(missing_ok=True)
        return freed

    def _gone(self, stage: str, key: str) -> DamagedArtifactError:
        return DamagedArtifactError(
            f"artifact {stage} {key[:12]} is gone from store {self.root}; was the store deleted during the run? "
            "Run the same command again"
        )

    def _data(self, stage: str, key: str, manifest: Manifest, *, again: bool = False) -> Path:
        """The data file, verified unless this process has written or verified it; `again`: in any case."""
        data = (self.folder(stage, key) / DATA_FILE).absolute()
        try:
            identity = _identity(data)
            if not again and _VERIFIED.get(data) == identity:
                return data
            _VERIFIED.pop(data, None)
            with data.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise self._gone(stage, key) from error
        except OSError as error:
            raise DamagedArtifactError(f"{data}: {error}") from error
        if found != manifest.checksum:
            raise DamagedArtifactError(f"{data}: sha256 {found[:12]}..., expected {manifest.checksum[:12]}...")
        _VERIFIED[data] = identity
        return data


def _identity(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of a file: it is the same file with the same content while they are the same."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
