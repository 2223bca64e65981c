"""`python -m gpu`: first what it needs, then the command."""

import os

from gpu import needs

if __name__ == "__main__":
    needs.check()

    # cuBLAS reads it once a process, and one slice of many is deterministic. It is what Hopper cards get anyway.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    from gpu.command import run

    run()
