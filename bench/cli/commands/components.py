"""`bench list`, `describe`, `check` and `new`: the components, and plug-ins in the making."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.commands.options import FOLDER, plugin_option


@click.command("list")
@click.argument(
    "kind", type=click.Choice(["attacks", "defenses", "victims", "datasets", "executors", "presets", "tasks"])
)
@plugin_option
def list_(kind: str, plugins: tuple[Path, ...]) -> None:
    """List the names of a kind, each with one line."""
    from bench.cli.listing import print_list

    print_list(kind, plugins)


@click.command()
@click.argument("name")
@plugin_option
def describe(name: str, plugins: tuple[Path, ...]) -> None:
    """Describe a component, preset or task: paper, parameters with defaults and meaning, cost, example."""
    from bench.cli.listing import print_description

    print_description(name, plugins)


@click.command()
@click.argument("name")
@plugin_option
@click.option("--kind", type=click.Choice(["attacks", "defenses", "victims"]), help="If the name is not unique.")
def check(name: str, plugins: tuple[Path, ...], kind: str | None) -> int:
    """Run the contract tests of a plug-in on a tiny set, in seconds."""
    from bench.check.component import check_component

    return check_component(name, plugins, kind)


@click.command()
@click.argument("kind", type=click.Choice(["attack", "defense", "victim"]))
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Folder of the new files (default: here).")
@click.option("--during-training", is_flag=True, help="A defense that replaces the loss, and purifies nothing.")
def new(kind: str, name: str, out: Path, during_training: bool) -> None:
    """Write a working plug-in file and its test, to be changed."""
    from bench.check.scaffold import write_scaffold

    file, test = write_scaffold(kind, name, out, during_training)
    click.echo(f"wrote {file}\nwrote {test}\nnext: bench check {name} --plugin {file}")
    click.echo(f"how plug-ins work: docs/tutorials/{kind}.md")
