"""The errors the command line knows: what the user can fix, what a plug-in broke, what the machine refuses."""

import errno
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """Something the user can fix: printed without a traceback, exit code 2."""


class MachineError(UserError):
    """This machine has too little for the work. A plan for other machines goes on: each job looks where it runs."""


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end: Ctrl-C, SIGTERM or SIGHUP.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class ContractError(Exception):
    """A plug-in broke a promise (shape, labels, budget, input changed in place): the cell is recorded as failed."""


def unknown(what: str, name: str, choices: Iterable[str], remedy: str = "", plugin: bool = False) -> UserError:
    """The error for a name that was not found: shows it, suggests the nearest and lists the choices.

    Args:
        what: kind of name.
        name: that was not found.
        choices: all there are.
        remedy: a sentence at the end.
        plugin: a file of the user's own may define it: names the file in the current folder that does, or the option.
    """
    choices = sorted(set(choices))
    by_lower = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    suggestion = f"; did you mean {by_lower[near[0]]}?" if near else "."
    listed = f" Choices: {', '.join(choices)}." if len(choices) <= 40 else ""
    hint = _plugin_hint(name, bool(near)) if plugin else ""
    return UserError(" ".join(filter(None, [f"unknown {what} {name!r}{suggestion}{listed}", remedy, hint])))


def _plugin_hint(name: str, has_near: bool) -> str:
    """File to give with --plugin: one that registers the name, or has the same name."""
    for path in sorted(Path().glob("*.py")):
        with suppress(OSError):
            called = path.stem.replace("_", "-") == name.replace("_", "-")
            if called or f'register("{name}"' in path.read_text(encoding="utf-8", errors="replace"):
                return f"If {path} defines it: --plugin {path}."
    return "" if has_near else "If a file of yours defines it: --plugin FILE."


def of_component(label: str, name: str, error: object) -> str:
    """The message of a component behind its label; a name that the message begins with is not said twice.

    Args:
        label: `attack 'lsp:patch=0'`.
        name: of the component.
        error: what it raised, or the message.
    """
    return f"{label}: {str(error).removeprefix(f'{label}: ').removeprefix(f'{name}: ')}"


_REMEDIES = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some of the disk quota",
    errno.EFBIG: "raise the limit on the size of a file",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written, or change its permissions",
    errno.EPERM: "choose a folder that can be written, or change its permissions",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EIO: "check the disk",
}


def told(error: BaseException) -> str:
    """Message of an error; the place where it was raised, if it has none or cannot give it."""
    try:
        said = str(error)
    except Exception:  # an exception of a plug-in may fail even at this
        said = ""
    if said:
        return said
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"no message; raised in {Path(frame.filename).name}:{frame.lineno}: {frame.line}"


def in_one_line(message: str) -> str:
    """A message of any length, as a line of a display has room for it."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside it, an error of the machine names this file if it names none, as one of writing to an open file does."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


_LONGEST_LINE = 500
_PATH_AT_FAULT = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


def wants_another_path(error: BaseException) -> bool:
    """True if the same command would fail again: only another path helps."""
    return isinstance(error, OSError) and error.errno in _PATH_AT_FAULT


def of_the_machine(error: BaseException) -> str:
    """One line for an error that the machine and not the program made (a full disk, no memory); "" for any other."""
    if isinstance(error, MemoryError):
        return f"out of memory{f' ({error})' if str(error) else ''}; close other programs, or use less data"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        said = ". ".join(str(error).split(". ")[:2])
        remedy = (
            f"the GPU is out of memory ({said}); end other programs on it, use a GPU with more, "
            "or choose a smaller network or batch_size (smaller batches are another training)"
        )
        return "; ".join([remedy, *getattr(error, "__notes__", [])])
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return ""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {_REMEDIES[error.errno]}"
