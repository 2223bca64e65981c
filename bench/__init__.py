"""purify-bench: accuracy versus cost of defenses against unlearnable examples.

`from bench import run_matrix` is the Python interface; it is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.run.python import run_matrix as run_matrix

__version__ = "1.0.0"


def __getattr__(name: str) -> Any:
    if name == "run_matrix":
        from bench.run.python import run_matrix

        return run_matrix
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
