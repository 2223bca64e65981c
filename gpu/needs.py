"""Imports of `make gpu`, looked up before they are imported: a machine without network hears at once what it lacks.

`python -m gpu.needs` ends with 0 if nothing is missing.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

MODULES = ("click", "numpy", "PIL", "psutil", "pydantic", "pynvml", "safetensors", "timm", "torch", "torchvision")


def missing() -> list[str]:
    """Modules that cannot be found; `purify-bench` if it is not installed, for its plug-ins are entry points."""
    absent = [name for name in MODULES if find_spec(name) is None]
    try:
        version("purify-bench")
    except PackageNotFoundError:
        absent.append("purify-bench")
    return absent


def check() -> None:
    """Ends the process (exit 2) with one line if something is missing."""
    if absent := missing():
        remedy = f"{sys.executable} -m pip install --no-index --find-links WHEELS purify-bench"
        print(
            f"error: {sys.executable} lacks {', '.join(absent)}; without network: {remedy} (docs/start.md)",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    check()
