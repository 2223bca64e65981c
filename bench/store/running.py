"""Notes of the jobs that run inside of the command's own process: how often one ended the process without a word.

A note is a locked file, so that it is known whether its writer lives. It is removed when the job ends, whether the job
is done, has failed or was stopped, and stays when the process is gone (killed, out of memory, a crash in C code).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.errors import UserError
from bench.store.locks import exclusive


@contextmanager
def running(note: Path) -> Iterator[None]:
    """Keeps the note while the block runs; none where the file system has no locks, or another process is in it."""
    note.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(note))
        except UserError:
            yield
            return
        try:
            note.write_text(str(_read(note) + 1), encoding="utf-8")
            yield
        finally:
            note.unlink(missing_ok=True)


def ended_in(note: Path) -> int:
    """Number of processes in a row that ended in the block of `running`; 0 while one is in it."""
    with suppress(UserError, OSError):
        if note.is_file():
            with exclusive(note):
                return _read(note)
    return 0


def _read(note: Path) -> int:
    try:
        return int(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # new, or cut by a full disk
        return 0
