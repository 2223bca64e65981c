"""How long until something happens: processes of their own, from start to end."""

import subprocess
import sys

from .ratio import Run

_IMPORT_ALL = """
import importlib, pkgutil, sys
import leaderboard
for module in pkgutil.iter_modules(leaderboard.__path__):
    importlib.import_module(f"leaderboard.{module.name}")
assert "torch" not in sys.modules
"""


def bench_help(run: Run) -> None:
    """Start of `bench --help`."""
    run.seconds(lambda: _python("-m", "bench", "--help"), at_most=0.4)


def bench_list(run: Run) -> None:
    """Start of `bench list attacks`."""
    run.seconds(lambda: _python("-m", "bench", "list", "attacks"), at_most=2.5)


def bench_import_of_leaderboard(run: Run) -> None:
    """Import of `leaderboard`, all modules."""
    run.seconds(lambda: _python("-c", _IMPORT_ALL), at_most=None, note="torch is not imported")


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
