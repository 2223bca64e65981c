"""Capture of prints and warnings of a plug-in: into the stage's log file, not into the progress display."""

from __future__ import annotations

import io
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

_MOST_CHARACTERS = 2**20  # of a log file; a flood must not fill the disk
_MOST_TEXTS = 5  # of warnings of one line of code; a text with a number in it is another one each time


class _Log(io.TextIOBase):
    """A text stream that opens its file with the first character, and stops writing when it is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._written = self._omitted = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = _MOST_CHARACTERS - self._written
        if text and room > 0:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace")
            self._file.write(text[:room])
            self._written += min(room, len(text))
        self._omitted += max(0, len(text) - max(0, room))
        return len(text)

    def end(self) -> None:
        """Says what was left out, and closes the file."""
        if self._file is not None:
            if self._omitted:
                self._file.write(f"\n[{self._omitted} more characters were left out]\n")
            self._file.close()


@contextmanager
def captured(path: Path) -> Iterator[Counter[str]]:
    """Inside the block, standard output and standard error go to the file at `path`, and warnings are counted.

    The file is made only if there is something to write. Every distinct warning stands in it once, with its count; of
    one line of code the first few texts, then all others together.

    Args:
        path: of the log file; one that is there is replaced.

    Yields:
        The warnings as `category: message (file:line)`, counted.
    """
    path.unlink(missing_ok=True)
    seen: Counter[str] = Counter()
    texts: dict[tuple[str, int], set[str]] = {}
    log = _Log(path)

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

    try:
        with warnings.catch_warnings(), redirect_stdout(log), redirect_stderr(log):
            warnings.showwarning = count
            if not sys.warnoptions:
                warnings.simplefilter("always")
                warnings.simplefilter("ignore", DeprecationWarning)
            yield seen
    finally:
        for text, times in seen.items():
            log.write(f"[warning, {times} times] {text}\n")
        log.end()
