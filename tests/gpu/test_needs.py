"""`python -m gpu` on a machine that lacks something, and its help."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.errors import UserError
from gpu import needs
from gpu.command import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["pydantic", "click"])
def test_a_missing_module_is_one_line(monkeypatch, capsys, module):
    found = needs.find_spec
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(SystemExit) as left:
        needs.check()
    shown = capsys.readouterr().err
    assert left.value.code == 2
    assert f"lacks {module};" in shown
    assert "pip install --no-index --find-links WHEELS purify-bench" in shown
    assert shown.count("\n") == 1


def test_a_bare_python_hears_what_it_lacks():
    """Without any package, as on a fresh machine: no traceback from an import."""
    done = subprocess.run([sys.executable, "-S", "-m", "gpu"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "lacks click, numpy," in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_missing_here():
    assert needs.missing() == []


@pytest.mark.skipif(shutil.which("make") is None, reason="install make, for example: apt install make")
def test_make_takes_the_python_that_lacks_nothing():
    command = ["make", "gpu", f"PYTHON={sys.executable}", "VENV=nowhere", "GPU=--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "rates/training\n" in done.stdout


def test_help_keeps_a_line_an_example():
    lines = [line.strip() for line in CliRunner().invoke(main, ["--help"]).output.splitlines()]
    assert sum(line.startswith("python -m gpu --") for line in lines) == 8


def test_rendering_a_file_that_is_missing_names_it(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json: no such file"):
        main(["--render", "--out", str(tmp_path / "nothing.json")], standalone_mode=False)
