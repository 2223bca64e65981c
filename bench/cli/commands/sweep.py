"""`bench sweep`: a matrix in which one parameter of an attack or a defense takes several values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.commands.run import matrix_options, run_and_publish, run_options
from bench.errors import UserError


@click.command()
@click.option("--attack", help="The attack whose parameter takes several values.")
@click.option("--defense", help="The defense, if it is the defense's parameter.")
@click.option("--parameter", required=True, help="NAME=VALUES: quality=10,30,50, quality=10..90:20, or both kinds.")
@matrix_options
@run_options
def sweep(
    config: Path | None,
    executor: str,
    out: Path | None,
    attack: str | None,
    defense: str | None,
    parameter: str,
    **options: Any,
) -> int:
    """Run a matrix over several values of one parameter, and show accuracy as a curve.

    The cells are those of `bench run`, in the same store. `--attacks` and `--defenses` add others.

    \b
    bench sweep --attacks lsp --defense jpeg --parameter quality=10..90:20
    bench sweep --attack em --parameter poison_rate=0.2..1.0 --defenses dvae
    """
    from bench.registry import attacks, defenses, load_plugin
    from bench.select.sweep import swept
    from leaderboard.export.curves import print_curves

    if (attack is None) == (defense is None):
        raise UserError("a sweep takes one --attack or one --defense: the one whose --parameter takes several values")
    for plugin in options["plugins"]:
        load_plugin(plugin)
    kind, texts = (
        ("attacks", swept(attacks, attack, parameter))
        if attack is not None
        else ("defenses", swept(defenses, str(defense), parameter))
    )
    options[kind] = [*texts, *filter(None, [options[kind]])]
    return run_and_publish(
        config, executor, out, lambda frames, console: print_curves(frames.cells, console), **options
    )
