"""End of a command: an error that the user can mend is a line without traceback, and a stop says how to continue."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import click

from bench.errors import Stopped, UserError, of_the_machine, wants_another_path


def run_command(command: click.Command, stopped: str) -> NoReturn:
    """Runs a command line and ends the process: exit code 2 after an error of user or machine.

    Ctrl-C, SIGTERM and SIGHUP stop it alike, with the exit code 128 + number of the signal: 130, 143, 129.

    Args:
        command: the command.
        stopped: what a stop leaves behind and how to continue.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that the terminal's encoding lacks is no reason to stop
    try:
        with _signals_stop():
            sys.exit(command(standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        click.echo("\n".join(map(_error_line, str(error).splitlines())), err=True)
        sys.exit(2)
    except (OSError, MemoryError) as error:
        if (number := _stop_behind(error)) is not None:  # a closed terminal refuses the last lines
            sys.exit(128 + number)
        if not (line := of_the_machine(error)):
            raise
        click.echo(f"error: {line}" if wants_another_path(error) else f"error: {line}\n{stopped}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt) as stop:
        with suppress(OSError):
            click.echo(f"\nstopped; {stopped}", err=True)
        sys.exit(128 + (_stop_behind(stop) or signal.SIGINT))


def _stop_behind(error: BaseException | None) -> int | None:
    """Number of the signal that an error goes back to; click makes an Abort of it. None if there was none."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return None if error is None else error.number if isinstance(error, Stopped) else signal.SIGINT


@contextmanager
def _signals_stop() -> Iterator[None]:
    """Inside it, SIGTERM and SIGHUP raise `Stopped`, once; where they are ignored (nohup), they stay so."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # what follows is the end, which a second signal must not cut short
        raise Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if in_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _error_line(line: str) -> str:
    """A problem as it is shown; an indented line is code to be copied and is printed without indentation."""
    return line.strip() if line.startswith("    ") else f"error: {line}"
