"""Runs a module, and the workers that it starts, without checks of values on the device:

python -m tests.gpu.pretended.believing gpu --toy
"""

import runpy
import sys

from bench.run import worker
from tests.gpu.pretended import watch

if __name__ == "__main__":
    worker.PROGRAM = ["-P", "-m", "tests.gpu.pretended.believing", "bench.run.serve"]
    watch.believe_what_is_on_the_device()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
