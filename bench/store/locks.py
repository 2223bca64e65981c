"""Locks of a store: a run and its jobs hold one together, garbage collection holds it alone.

A half-written file has a lock of its own, so that it is known whether its writer still lives. A lock belongs to an open
file, so that the system releases it however a process ends.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import UserError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Held while artifacts are made. Goes on where the file system has no locks: there nobody can hold it alone.

    Raises:
        UserError: if somebody holds it alone.
    """
    with path.open("ab") as file:
        try:
            _lock(file.fileno(), exclusive=False)
        except BlockingIOError:
            raise UserError(
                f"store {path.parent}: `bench cache gc` is at work in it; run the same command again when it has ended"
            ) from None
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
        yield


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Held while artifacts are deleted.

    Raises:
        UserError: if a run is active, or the file system has no locks to tell.
    """
    with path.open("ab") as file:
        try:
            _lock(file.fileno(), exclusive=True)
        except BlockingIOError:
            raise UserError(
                f"store {path.parent}: a run is active in it; wait until it has ended (--dry-run works meanwhile)"
            ) from None
        except (ImportError, OSError) as error:
            raise UserError(
                f"store {path.parent}: cannot tell whether a run is active in it ({error}); "
                "nothing was deleted: copy the store to a local disk"
            ) from error
        yield


def held(path: Path) -> bool:
    """True if somebody holds the lock, alone or with others; False where the file system has no locks to tell."""
    try:
        with path.open("ab") as file:
            _lock(file.fileno(), exclusive=True)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Makes a file that `remove_abandoned` leaves alone inside the block, and no longer if the process dies in it."""
    while True:
        with path.open("ab") as file:
            try:
                _lock(file.fileno(), exclusive=True)
            except BlockingIOError:  # about to be removed, because it had no owner yet
                continue
            except (ImportError, OSError):  # no locks here: nobody can remove it
                pass
            if path.exists():
                yield
                return


def remove_abandoned(path: Path, folder: Path | None = None) -> None:
    """Removes a file whose owner has died, or the whole folder; neither where the file system has no locks to tell."""
    with suppress(UserError, OSError), exclusive(path):
        if folder is None:
            path.unlink()
        else:
            shutil.rmtree(folder)


def _lock(handle: int, *, exclusive: bool) -> None:
    import fcntl  # not on Windows

    fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
