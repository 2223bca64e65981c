"""An output folder: whole or not at all. Written under another name, then put in place by renaming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.errors import UserError, of_the_machine
from bench.store.locks import owned, remove_abandoned
from bench.store.results import json_text

MANIFEST = "site.json"
FIGURES = "figures.json"
INDEX = "export.json"
_FOREIGN = {
    MANIFEST: "`bench publish` did not write",
    FIGURES: "`bench figures` did not write",
    INDEX: "no export wrote",
}
_LOCK = "lock"
_FIRST_RELEASE = {"cells.csv", "leaderboard.csv", "leaderboard.md", "index.html", "assets/plotly.min.js"}


def check_folder(out: Path, manifest: str = MANIFEST) -> None:
    """Says before any work whether `write_folder` may write there.

    Raises:
        UserError: if it is a file, or holds files that an earlier call with this manifest did not write.
    """
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"cannot write to {out}: {path} is a file; choose another folder")
    if not out.exists():
        return
    try:
        present = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
        ours = set(json.loads((out / manifest).read_text(encoding="utf-8"))["files"]) | {manifest}
    except FileNotFoundError:
        ours = _FIRST_RELEASE if manifest == MANIFEST else set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot write to {out}: {manifest} there cannot be read ({error}); choose another folder"
        ) from error
    if foreign := sorted(present - ours):
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise UserError(
            f"cannot write to {out}: it holds files that {_FOREIGN[manifest]} ({', '.join(foreign[:3])}{more}), "
            "and the whole folder is replaced; choose a new or empty one"
        )


def write_folder(
    out: Path,
    contents: Mapping[str, bytes | Path],
    manifest: str = MANIFEST,
    header: Mapping[str, Any] | None = None,
) -> None:
    """Makes `out` hold exactly these files and the manifest, which lists them with their sha256.

    Removes what killed processes left half-written beside it.

    Args:
        out: a folder that does not exist, is empty, or was written before with this manifest.
        contents: by relative path, the bytes or a file to copy.
        manifest: name of the file that lists the others.
        header: what the manifest holds besides `files`.

    Raises:
        UserError: if the folder holds other files or cannot be written; it is then as it was.
    """
    check_folder(out, manifest)
    out = out.resolve()
    workplace: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
        with owned(workplace / _LOCK):
            new, old = workplace / "new", workplace / "old"
            new.mkdir()
            for folder in sorted({(new / name).parent for name in contents}):
                folder.mkdir(parents=True, exist_ok=True)
            listed = {name: _write(new / name, content) for name, content in contents.items()}
            _write(new / manifest, json_text({**(header or {}), "files": listed}).encode())
            _swap(new, out, old)
        _remove_leftovers(out)
    except OSError as error:
        problem = of_the_machine(error) or f"{error}; choose a folder that can be written"
        raise UserError(f"cannot write to {out}: {problem}; the cells are safe in the store") from error
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes | Path) -> str:
    """Returns the sha256 of what was written."""
    if isinstance(content, Path):
        shutil.copyfile(content, path)
        return sha256_of(path)
    path.write_bytes(content)
    return sha256(content).hexdigest()


def _remove_leftovers(out: Path) -> None:
    for lock in out.parent.glob(f".{escape(out.name)}-*/{_LOCK}"):
        with suppress(OSError):  # another process may remove them too
            if {entry.name for entry in lock.parent.iterdir()} <= {"new", "old", _LOCK}:
                remove_abandoned(lock, lock.parent)


def _swap(new: Path, out: Path, old: Path) -> None:
    """Puts `new` in the place of `out`; if that fails, `out` is put back."""
    if not out.exists():
        new.rename(out)
        return
    out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        old.rename(out)
        raise
