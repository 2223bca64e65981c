"""`bench export`, `bench verify` and `bench merge`: results that travel without tensors."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from random import randrange

import click

from bench import formats
from bench.cli.commands.options import FOLDER, plugin_option, store_option
from bench.errors import UserError


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
@click.option(
    "--rerun",
    metavar="N|all",
    help="Compute N finished cells again, drawn at random, plug-ins and poisoned cells first; or all.",
)
@click.option("--sample-seed", type=int, help="Of the draw (default: a random one, which is printed).")
@click.option("--other-source", is_flag=True, help="A cell may agree though its source differs from this checkout's.")
@click.option("--strict", is_flag=True, help="A note is a problem too: exit code 1.")
@click.option("--store", type=FOLDER, help="Folder for the cells computed again, to continue after a stop.")
@click.option("--dataset", help="The same images at another place here, such as npz:PATH.")
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Downloaded data.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")
@plugin_option
def verify(
    folder: Path,
    rerun: str | None,
    sample_seed: int | None,
    other_source: bool,
    strict: bool,
    store: Path | None,
    dataset: str | None,
    data_root: Path,
    device: str,
    plugins: tuple[Path, ...],
) -> int:
    """Check an exported folder: hashes, schema, keys, plausibility; then compute cells again.

    Accuracies must be equal where both runs are --deterministic on one kind of device, else they may differ by the
    95 % interval. Costs are compared as ratios. Exit code 1 if something is wrong or differs. Nothing of the folder is
    imported, unless it is given with --plugin.
    """
    from bench.cli.verify import print_checks, print_reruns
    from bench.portable.reading import read_export
    from bench.registry import load_plugin
    from bench.run.prepare import Options

    if rerun not in (None, "all") and not (rerun.isdecimal() and int(rerun) > 0):
        raise UserError(f"--rerun {rerun}: give a number of cells from 1, or all")
    count = None if rerun in (None, "all") else int(rerun)
    export = read_export(folder)
    if not export.problems:  # files that were changed are not imported
        for plugin in plugins:
            load_plugin(plugin)
    wrong = print_checks(export, strict)
    if wrong or rerun is None:
        return wrong
    seed = randrange(1 << 32) if sample_seed is None else sample_seed
    command = shlex.join(["bench", *sys.argv[1:]])
    options = Options(data_root=data_root, device=device, plugins=plugins, command=command)
    return print_reruns(export, count, seed, options, store, other_source, dataset or "")


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="The merged folder; may be one of FOLDERS.")
@click.option("--first-wins", is_flag=True, help="If folders disagree on an accuracy, take the first folder's.")
@click.option(
    "--replace",
    "replaced",
    multiple=True,
    metavar="DEFENSE",
    help="Of this defense, take the last folder's cells alone.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="DEFENSE",
    help="Of the last folder, take the cells of this defense and of none alone.",
)
@click.option("--extend", is_flag=True, help="Rows of the first folder may lack the other folders' attacks and seeds.")
def merge(
    folders: tuple[Path, ...],
    out: Path,
    first_wins: bool,
    replaced: tuple[str, ...],
    only: tuple[str, ...],
    extend: bool,
) -> int:
    """Merge exported folders to one, which has each cell once. They are checked before, as by `bench verify`."""
    from bench.cli.merge import refuse_copies, refuse_incomplete
    from bench.cli.verify import print_checks
    from bench.portable.merge import choose, write_merged
    from bench.portable.reading import read_export

    exports = [read_export(folder) for folder in folders]
    if sum(print_checks(export) for export in exports):
        return 1
    refuse_copies(exports)
    chosen = choose(exports, first_wins, replaced, only)
    if not extend:
        refuse_incomplete(exports[0], [cell for _, cell in chosen.values()])
    for folder in write_merged(exports, chosen, out):
        click.echo(
            f"note: {folder}: its undefended victims were trained by another source than those that are kept, and are "
            "left out; defenses that this folder measured on another machine have no x training"
        )
    left_out = sum(len(export.cells) for export in exports) - len(chosen)
    click.echo(f"{out}: {formats.counted(len(chosen), 'cell')}; {left_out} left out")
    return 0
