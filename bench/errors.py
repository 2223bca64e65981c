"""The two errors the command line knows: what the user can fix, and what a plug-in broke."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can fix: printed without a traceback, exit code 2."""


class ContractError(Exception):
    """A plug-in broke a promise (shape, labels, budget, input changed in place): the cell is recorded as failed."""


def unknown(what: str, name: str, choices: Iterable[str], remedy: str = "") -> UserError:
    """The error for a name that was not found: shows it, suggests the nearest and lists the choices."""
    choices = sorted(choices)
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    suggestion = f"; did you mean {near[0]}?" if near else "."
    listed = f" Choices: {', '.join(choices)}." if len(choices) <= 40 else ""
    return UserError(f"unknown {what} {name!r}{suggestion}{listed}{' ' + remedy if remedy else ''}")
