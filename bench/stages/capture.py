"""Capture of prints and warnings of a plug-in: into the stage's log file, not into the progress display.

What libraries write without Python goes there too: during a stage, file descriptors 1 and 2 lead to the log. The
display writes to a copy of standard error, see `past_the_logs`.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

_MOST_CHARACTERS = 2**20  # of a log file; a flood must not fill the disk
_MOST_TEXTS = 5  # of warnings of one line of code; a text with a number in it is another one each time


class _Log:
    """A text file that is opened with the first character; it stops when it is full, and when the disk is.

    Args:
        path: of the file; one that is there is removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._written = self._omitted = 0
        self.problem = ""
        with self._dropped_if_unwritable():
            path.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        """Keeps the text, as far as there is room."""
        room = _MOST_CHARACTERS - self._written
        if text and room > 0 and not self.problem:
            with self._dropped_if_unwritable():
                if self._file is None:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = self._path.open("a", 1, "utf-8", "backslashreplace")
                self._file.write(text[:room])
            self._written += min(room, len(text))
        self._omitted += max(0, len(text) - max(0, room))

    def flush(self) -> None:
        """Writes what is still in memory."""
        if self._file is not None:
            with self._dropped_if_unwritable():
                self._file.flush()

    def end(self) -> None:
        """Closes the file, cuts it if it is too long, says what was left out, and removes it if it is empty."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        with self._dropped_if_unwritable():
            size = self._path.stat().st_size if self._path.is_file() else 0
            if size > _MOST_CHARACTERS:  # written past `write`, by its descriptor
                os.truncate(self._path, _MOST_CHARACTERS)
                self._omitted += size - _MOST_CHARACTERS
            if self._omitted:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"\n[{self._omitted} more characters were left out]\n")
            elif not size and self._path.is_file():
                self._path.unlink()

    @contextmanager
    def _dropped_if_unwritable(self) -> Iterator[None]:
        """A log that cannot be written is no reason to lose the stage's result."""
        try:
            yield
        except OSError as error:
            self.problem = self.problem or f"the log {self._path} is not complete: {error.strerror or error}"


class _Stream(io.TextIOBase):
    """Standard output and standard error of plug-ins: it writes to the log of the stage that runs now.

    There is one for the whole process, because a plug-in may keep it after its first stage (`logging.basicConfig`).
    Between stages it writes nowhere; it never raises and cannot be closed.
    """

    log: _Log | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.log is not None:
            self.log.write(text)
        return len(text)

    def flush(self) -> None:
        if self.log is not None:
            self.log.flush()

    def close(self) -> None: ...


_stream = _Stream()


@contextmanager
def past_the_logs() -> Iterator[TextIO]:
    """Standard error for the progress display: by a descriptor of its own, which no stage leads to its log."""
    try:
        copy = os.dup(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # no descriptor: a notebook, a closed standard error
        yield sys.stderr
        return
    with open(copy, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors) as stream:
        yield stream


@contextmanager
def _descriptors_to(path: Path) -> Iterator[None]:
    """Inside it, descriptors 1 and 2 of the process lead to the end of the file; if that cannot be, nothing happens."""
    before: dict[int, int] = {}
    try:
        for number in (1, 2):
            os.fstat(number)  # raises where it is closed: a copy of the other would take its place
        for number in (1, 2):
            before[number] = os.dup(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:  # a descriptor is closed, or the log cannot be written, which is said where it is
        for kept in before.values():
            os.close(kept)
        yield
        return
    _flush()
    for number in before:
        os.dup2(file, number)
    os.close(file)
    try:
        yield
    finally:
        _flush()
        for number, kept in before.items():
            os.dup2(kept, number)
            os.close(kept)


def _flush() -> None:
    """Writes what Python's own streams and the C library hold back, while their descriptors lead where they should."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)


@contextmanager
def captured(path: Path) -> Iterator[Counter[str]]:
    """Inside the block, standard output and standard error go to the file at `path`, and warnings are counted.

    So does what is written to descriptors 1 and 2 by libraries and by processes that start inside the block. The file
    is made only if there is something to write; if it cannot be written, that is one more warning. Every distinct
    warning is in the file once, with its count; of one line of code the first few texts, then all others together.

    Args:
        path: of the log file; one that is there is replaced.

    Yields:
        The warnings as `category: message (file:line)`, counted.
    """
    seen: Counter[str] = Counter()
    texts: dict[tuple[str, int], set[str]] = {}
    log, before = _Log(path), _stream.log

    def count(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        known, text = texts.setdefault((filename, lineno), set()), str(message)
        if text not in known and len(known) >= _MOST_TEXTS:
            text = "other warnings of the same line"
        else:
            known.add(text)
        seen[f"{category.__name__}: {text} ({Path(filename).name}:{lineno})"] += 1

    _stream.log = log
    try:
        with (
            _descriptors_to(path),
            warnings.catch_warnings(),
            redirect_stdout(_stream),
            redirect_stderr(_stream),
        ):
            warnings.showwarning = count
            if not sys.warnoptions:
                warnings.simplefilter("always")
                warnings.simplefilter("ignore", DeprecationWarning)
            yield seen
    finally:
        _stream.log = before
        for text, times in seen.items():
            log.write(f"[warning, {times} times] {text}\n")
        log.end()
        if log.problem:
            seen[log.problem] += 1
