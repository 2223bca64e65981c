"""`bench export` and `bench verify`: results that travel without tensors."""

from __future__ import annotations

from pathlib import Path

import click

from bench import formats
from bench.cli.commands.options import FOLDER, plugin_option, store_option


@click.command()
@click.argument("cells", nargs=-1)
@store_option
@plugin_option
@click.option("--out", type=FOLDER, required=True, help="The exported folder.")
@click.option("--tensors", is_flag=True, help="Copy images and predictions too (gigabytes).")
def export(cells: tuple[str, ...], store: Path, plugins: tuple[Path, ...], out: Path, tensors: bool) -> None:
    """Write results to a folder that can be committed, checked and published elsewhere.

    CELLS are keys or beginnings of keys (default: all cells of the store). The folder holds cells, manifests and
    the source of plug-ins, without tensors.
    """
    from bench.cli.housekeeping import open_store
    from bench.portable.export import export as write
    from bench.registry import load_plugin
    from leaderboard.export.command_lines import without_paths

    opened = open_store(store)
    for plugin in plugins:
        load_plugin(plugin)
    written = write(opened, cells, out, without_paths, tensors)
    done = sum(cell.status == "done" for cell in written)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"{out}: {formats.counted(len(written), 'cell')}, {done} finished, {formats.size(size)}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_option
def verify(folder: Path, plugins: tuple[Path, ...]) -> int:
    """Check an exported folder: hashes, schema, keys, plausibility. Exit code 1 if something is wrong.

    Nothing of the folder is imported, unless it is given with --plugin.
    """
    from bench.cli.verify import print_checks
    from bench.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    return print_checks(folder)
