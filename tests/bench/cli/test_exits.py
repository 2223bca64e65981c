"""How a command ends, whatever the terminal can show."""

import io
import sys

import click
import pytest

from bench.cli.exits import run_command


def test_a_character_that_the_terminal_lacks_does_not_end_the_command(monkeypatch):
    @click.command()
    def say():
        click.echo("94.6 ± 0.3 · λ")

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit) as stop:
        run_command(say, "")
    assert stop.value.code == 0
    sys.stdout.flush()
    assert written.getvalue() == b"94.6 \xb1 0.3 \xb7 ?\n"
