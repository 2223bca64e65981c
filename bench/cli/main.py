"""The command line. Commands import inside their functions, so that `bench --help` is instant."""

from __future__ import annotations

import click

from bench import __version__
from bench.cli.commands import board, cache, components, doctor, portable, run, sweep
from bench.cli.exits import run_command


def main() -> None:
    """Entry point: a UserError is printed without a traceback (exit 2), Ctrl-C says how to continue (exit 130)."""
    run_command(cli, "finished stages are in the store: run the same command again to continue")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Compare defenses against unlearnable examples: accuracy versus cost.

    \b
    bench run --attacks all --defenses dvae,iss --preset demo
    bench list defenses
    """


for command in (
    run.run,
    run.plan,
    sweep.sweep,
    components.list_,
    components.describe,
    components.check,
    components.new,
    board.publish,
    board.figures,
    board.show,
    portable.export,
    portable.verify,
    portable.merge,
    cache.cache,
    doctor.doctor,
):
    cli.add_command(command)
