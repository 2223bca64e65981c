"""Pretended GPUs (`tests/gpu/pretended`): processes in which torch sees CUDA devices whose kernels do nothing."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.gpu.pretended import build

ROOT = Path(__file__).parents[2]


class Pretended:
    """Runs commands on pretended GPUs."""

    def __init__(self, folder):
        self._folder = folder

    def run(self, *command, gpus=1, env=None, timeout=600, cwd=ROOT):
        """The finished process of `python COMMAND...` with this number of GPUs; `env` is added (None takes away)."""
        variables = {**build.environment(self._folder, gpus), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        variables = {name: value for name, value in {**variables, **(env or {})}.items() if value is not None}
        return subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=cwd,
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def report(self, module, *arguments, **options):
        """The JSON that a module prints as its last line."""
        done = self.run("-m", module, *arguments, **options)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def pretended(request):
    """Pretended GPUs, built once for these sources and this torch."""
    if why := build.problem():
        pytest.skip(why)
    cache = getattr(request.config, "cache", None)  # none with -p no:cacheprovider
    folder = cache.mkdir("pretended-gpu") if cache else Path(tempfile.gettempdir()) / "purify-bench-pretended"
    return Pretended(build.built(folder))
