"""How a command ends, whatever the terminal can show."""

import io
import os
import signal
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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_with_its_number_and_the_same_sentence(monkeypatch, capfd, request, how):
    ended = []
    before = signal.signal(how, signal.default_int_handler if how == signal.SIGINT else signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(how, before))  # libraries of other tests leave theirs

    @click.command()
    def wait():
        try:
            os.kill(os.getpid(), how)
            signal.pause()
        finally:
            if how != signal.SIGINT:
                os.kill(os.getpid(), how)  # a second one does not cut the end short
            ended.append(how)

    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit) as stop:
        run_command(wait, "run it again")
    assert stop.value.code == 128 + how
    assert capfd.readouterr().err.strip() == "stopped; run it again"
    assert ended == [how]


def test_a_closed_terminal_does_not_change_the_exit_code(monkeypatch):
    @click.command()
    def lose():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            signal.pause()
        finally:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit) as stop:
        run_command(lose, "")
    assert stop.value.code == 129


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    @click.command()
    def hang_up():
        os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(sys, "argv", ["bench"])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as stop:
            run_command(hang_up, "")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stop.value.code == 0
