"""A method of an object that plug-ins hold, for the harness alone."""

from __future__ import annotations

import sys

from bench.errors import ContractError


def harness_only(what: str) -> None:
    """Raises ContractError unless the method that calls this one was called by a module of the harness."""
    caller = sys._getframe(2).f_globals.get("__name__", "")
    if not caller.startswith("bench."):
        raise ContractError(
            f"{what} is for the harness alone, and {caller} called it; all that a plug-in does is charged"
        )
