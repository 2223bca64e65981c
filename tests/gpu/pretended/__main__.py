"""Runs a command on pretended GPUs:

python -m tests.gpu.pretended python -m tests.gpu.pretended.believing bench run --attacks lsp --preset demo
PRETENDED_GPUS=4 python -m tests.gpu.pretended python my_script.py
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.gpu.pretended import build

if __name__ == "__main__":
    if why := build.problem():
        sys.exit(f"error: no pretended GPU here: {why}")
    if len(sys.argv) < 2:
        sys.exit(f"error: no command\n{__doc__}")
    folder = build.built(Path(tempfile.gettempdir()) / "purify-bench-pretended")
    os.execvpe(sys.argv[1], sys.argv[1:], build.environment(folder, int(os.environ.get("PRETENDED_GPUS", 1))))
