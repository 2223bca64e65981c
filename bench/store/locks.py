"""Locks of a store: a run and its jobs hold one together, garbage collection holds it alone.

The lock belongs to an open file, so that the system releases it however a process ends.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
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


def _lock(handle: int, *, exclusive: bool) -> None:
    import fcntl  # not on Windows

    fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
