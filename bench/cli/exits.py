"""End of a command: an error that the user can mend is a line without traceback, and Ctrl-C says how to continue."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import click

from bench.errors import UserError, of_the_machine, wants_another_path


def run_command(command: click.Command, stopped: str) -> NoReturn:
    """Runs a command line and ends the process: exit code 2 after an error of user or machine, 130 after Ctrl-C.

    Args:
        command: the command.
        stopped: what a stop leaves behind and how to continue.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that the terminal's encoding lacks is no reason to stop
    try:
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
        if not (line := of_the_machine(error)):
            raise
        click.echo(f"error: {line}" if wants_another_path(error) else f"error: {line}\n{stopped}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"\nstopped; {stopped}", err=True)
        sys.exit(130)


def _error_line(line: str) -> str:
    """A problem as it is shown; an indented line is code to be copied and is printed without indentation."""
    return line.strip() if line.startswith("    ") else f"error: {line}"
