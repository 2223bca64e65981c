"""The command line. Imports happen inside the functions, so that `bench --help` is instant."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import __version__
from bench.cli.command import run_command
from bench.errors import UserError, in_one_line

if TYPE_CHECKING:
    from bench.run.prepare import Prepared
    from leaderboard.site.methods import Method

_FOLDER = click.Path(path_type=Path, file_okay=False)


def main() -> None:
    """Entry point: a UserError is printed without a traceback (exit 2), Ctrl-C says how to continue (exit 130)."""
    run_command(cli, "what was finished is in the store: run the same command again to continue")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Compare defenses against unlearnable examples: accuracy versus cost.

    \b
    bench run --attacks all --defenses dvae,iss --preset demo
    bench list defenses
    """


def _matrix_options(command: Any) -> Any:
    options = [
        click.argument("config", type=click.Path(path_type=Path, dir_okay=False), required=False),
        click.option("--attacks", help="Selections: names, name:parameter=value, globs, all, chains (lsp+ops)."),
        click.option("--defenses", help="The same; `iss` selects its family."),
        click.option("--victims", help="small-cnn, or any timm model name."),
        click.option("--dataset", help="shapes, cifar10:train=2000, npz:PATH, folder:PATH:size=224, ..."),
        click.option("--preset", help="demo, fast or paper (default)."),
        click.option("--seeds", help="A count (3) or a list (0,5)."),
        click.option("--store", type=_FOLDER, default=Path("results"), show_default=True, help="Artifacts and cells."),
        click.option("--data-root", type=_FOLDER, default=Path("data"), show_default=True, help="Downloaded data."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1."),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads (default: all cores)."),
        click.option(
            "--repeat-costs",
            type=click.IntRange(min=1),
            default=1,
            metavar="N",
            help="Run purifications N times, and take the median cost (short ones: up to 5 times in any case).",
        ),
        click.option(
            "--engine",
            type=click.Choice(["eager", "compile"]),
            default="eager",
            show_default=True,
            help="Engine of training steps; part of the device's name, not of keys.",
        ),
        click.option("--deterministic/--no-deterministic", default=False, help="Repeatable to the bit, and slower."),
        click.option(
            "--precision",
            type=click.Choice(["auto", "float32", "bfloat16"]),
            default="auto",
            show_default=True,
            help="Precision of matrix products and convolutions; auto: bfloat16 on a GPU. Part of every key.",
        ),
        click.option(
            "--skip-impossible",
            is_flag=True,
            help="Record cells that cannot work on the data set as skipped, and run the rest.",
        ),
        click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plug-in file."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _prepared(
    config: Path | None,
    attacks: str | None,
    defenses: str | None,
    victims: str | None,
    dataset: str | None,
    preset: str | None,
    seeds: str | None,
    *,
    runs: bool,
    **options: Any,
) -> AbstractContextManager[Prepared]:
    """The plan of a command line, see `bench.run.prepare`."""
    import shlex

    from bench.run.prepare import Options, prepared
    from bench.select.config import Settings, read_settings

    layers = [read_settings(config)] if config else []
    layers.append(Settings(preset, dataset, attacks, defenses, victims, seeds))
    return prepared(layers, Options(**options, command=shlex.join(["bench", *sys.argv[1:]])), runs=runs)


@cli.command()
@_matrix_options
@click.option("--executor", default="inline", show_default=True, help="inline, submitit:cluster=slurm, ray.")
@click.option("--out", type=_FOLDER, help="Folder of the leaderboard (default: STORE/leaderboard).")
def run(config: Path | None, executor: str, out: Path | None, **options: Any) -> int:
    """Run a matrix (CONFIG: a TOML file) and write its leaderboard. Run it again to continue."""
    from rich.console import Console

    from bench.plan import History
    from bench.run.prepare import choose_executor
    from bench.run.progress import progress_display
    from bench.run.runner import run_plan
    from leaderboard.export.folder import check_folder
    from leaderboard.export.terminal import print_leaderboard
    from leaderboard.publish import publish
    from leaderboard.tables.table import frames_of

    chosen = choose_executor(executor)
    out = out or options["store"] / "leaderboard"
    check_folder(out)
    with _prepared(config, runs=True, **options) as ready:
        plan, store = ready.plan, ready.store
        _print_notes(ready)
        # The stream itself, not whatever standard error is at the time: a stage's own output goes to its log file.
        with progress_display(Console(file=sys.stderr), History(store, plan.session)) as display:
            outcome = run_plan(plan, store, chosen, display)
        console = Console()
        frames = frames_of(outcome.cells)
        print_leaderboard(frames.board, console)
        paths = publish(outcome.cells, frames, out, [store.root], _methods())
    for repaired in outcome.repaired:
        console.print(f"damaged artifact computed again: {repaired}", style="yellow", markup=False)
    computed, reused = (", ".join(f"{n} {s}" for s, n in c.items() if n) for c in (outcome.computed, outcome.reused))
    console.print(f"computed now: {computed or 'nothing'}; from the store: {reused or 'nothing'}", highlight=False)
    if reused:
        console.print("(what comes from the store keeps the seconds of its original computation)", style="dim")
    for cell in outcome.skipped:
        names = f"{cell.attack.text} / {cell.defense.text} / {cell.victim.text}, seed {cell.seed}"
        message = f"skipped: {names}: {(cell.error or {}).get('message')}"
        console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for cell in outcome.failed:
        error = cell.error or {}
        names = f"{cell.attack.text} / {cell.defense.text} / {cell.victim.text}, seed {cell.seed}"
        said = in_one_line(str(error.get("message")))
        message = f"failed: {names}: {error.get('kind')} in {error.get('stage')}: {said}"
        console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    if outcome.failed:
        console.print("run the same command again to try the failed cells once more; `bench show CELL` has details")
    for name in ("leaderboard.csv", "index.html"):
        console.print(f"{name}: {paths[name]}", highlight=False, markup=False, soft_wrap=True)
    return 1 if outcome.failed else 0


@cli.command()
@_matrix_options
@click.option("--jobs", is_flag=True, help="List every job, not only the number of jobs by stage and component.")
def plan(config: Path | None, jobs: bool, **options: Any) -> None:
    """Show the jobs of a run, the cached ones and the expected time. Runs nothing."""
    from bench.cli.forecast import print_plan

    with _prepared(config, runs=False, **options) as ready:
        _print_notes(ready)
        print_plan(ready.plan, ready.store, ready.splits, each_job=jobs)


def _print_notes(ready: Prepared) -> None:
    for note in ready.splits.notes:
        click.echo(f"note: {note}", err=True)


@cli.command("list")
@click.argument("kind", type=click.Choice(["attacks", "defenses", "victims", "datasets", "executors", "presets"]))
@click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plug-in file.")
def list_(kind: str, plugins: tuple[Path, ...]) -> None:
    """List the names of a kind, each with one line."""
    from bench.cli.listing import print_list

    print_list(kind, plugins)


@cli.command()
@click.argument("name")
@click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plug-in file.")
def describe(name: str, plugins: tuple[Path, ...]) -> None:
    """Describe a component or preset: paper, parameters with defaults and meaning, cost, example."""
    from bench.cli.listing import print_description

    print_description(name, plugins)


@cli.command()
@click.argument("name")
@click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plug-in file.")
@click.option("--kind", type=click.Choice(["attacks", "defenses", "victims"]), help="If the name is not unique.")
def check(name: str, plugins: tuple[Path, ...], kind: str | None) -> int:
    """Run the contract tests of a plug-in on a tiny set, in seconds."""
    from bench.check.component import check_component

    return check_component(name, plugins, kind)


@cli.command()
@click.argument("kind", type=click.Choice(["attack", "defense", "victim"]))
@click.argument("name")
@click.option("--out", type=_FOLDER, default=Path(), help="Folder of the new files (default: here).")
@click.option("--during-training", is_flag=True, help="A defense that replaces the loss, and purifies nothing.")
def new(kind: str, name: str, out: Path, during_training: bool) -> None:
    """Write a working plug-in file and its test, to be changed."""
    from bench.check.scaffold import write_scaffold

    file, test = write_scaffold(kind, name, out, during_training)
    click.echo(f"wrote {file}\nwrote {test}\nnext: bench check {name} --plugin {file}")
    click.echo(f"how plug-ins work: docs/tutorials/{kind}.md")


@cli.command()
@click.option("--store", "stores", type=_FOLDER, multiple=True, default=(Path("results"),), show_default=True)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the site.")
@click.option(
    "--first-wins", is_flag=True, help="If stores disagree on an accuracy, take the first store's and flag it."
)
def publish(stores: tuple[Path, ...], out: Path, first_wins: bool) -> None:
    """Write a site from all stored cells: pages that open offline, and the tables as CSV, JSON, Markdown and LaTeX."""
    from leaderboard.export.folder import check_folder
    from leaderboard.publish import publish as write_site
    from leaderboard.tables.stores import described_repeats, read_stores
    from leaderboard.tables.table import frames_of

    check_folder(out)
    stored = read_stores(stores, first_wins)
    for text in described_repeats(stored):
        click.echo(text, err=True)
    frames = frames_of(stored.cells, stored.repeated)
    for path in write_site(stored.cells, frames, out, stores, _methods(), stored.repeated).values():
        click.echo(path)
    if not any(cell.status == "done" for cell in stored.cells):
        click.echo(f"0 of {len(stored.cells)} cells finished: {out / 'index.html'} lists why", err=True)


def _methods() -> list[Method]:
    """The registered components in words: the leaderboard itself never imports them, for they import torch."""
    from dataclasses import MISSING

    from bench.registry import attacks, defenses, victims
    from bench.select.spec import plain
    from leaderboard.site.methods import Method

    return [
        Method(
            kind=registry.kind,
            name=name,
            source=entry.source,
            family=entry.family,
            uses=entry.uses,
            description=entry.cls.__doc__ or "",
            inherited=tuple(base.__doc__ or "" for base in entry.cls.__mro__[1:-1]),
            parameters={
                parameter: "required" if default is MISSING else str(plain(default))
                for parameter, default in entry.parameters.items()
            },
        )
        for registry in (attacks, defenses, victims)
        for name, entry in registry.items()
    ]


@cli.command()
@click.argument("cell")
@click.option("--store", type=_FOLDER, default=Path("results"), show_default=True)
@click.option("--images", type=click.Path(path_type=Path, dir_okay=False), help="Write sample images to this PNG file.")
def show(cell: str, store: Path, images: Path | None) -> None:
    """Show a cell: settings, costs, curve, scores, sample images. CELL is its key or the beginning of it."""
    from bench.cli.show import show_cell
    from leaderboard.site.contact_sheet import contact_sheet, read_samples

    if images is not None and images.suffix.lower() != ".png":
        raise UserError(f"--images {images}: give a file that ends in .png")
    shown = show_cell(cell, store)
    if images is None:
        return
    samples = read_samples(store, shown)
    if samples is None:
        raise UserError(f"cell {shown.key} has no sample images: a stage failed, or an older release made it")
    try:
        contact_sheet(*samples).save(images)
    except OSError as error:
        raise UserError(f"--images {images}: {error.strerror or error}") from error
    click.echo(f"sample images: {images}")


@cli.group()
def cache() -> None:
    """List, verify and clean the artifact store."""


def _store_option(command: Any) -> Any:
    return click.option("--store", type=_FOLDER, default=Path("results"), show_default=True)(command)


@cache.command("ls")
@_store_option
def cache_ls(store: Path) -> None:
    """List every artifact with its size and cost."""
    from bench.cli.housekeeping import list_artifacts

    list_artifacts(store)


@cache.command("verify")
@_store_option
def cache_verify(store: Path) -> int:
    """Check every artifact's checksum; exit code 1 if one is damaged."""
    from bench.cli.housekeeping import verify_artifacts

    return verify_artifacts(store)


@cache.command("gc")
@_store_option
@click.option("--dry-run", is_flag=True, help="Delete nothing; list what would be deleted.")
@click.option("--unfinished", is_flag=True, help="Also delete artifacts needed only to resume interrupted runs.")
def cache_gc(store: Path, dry_run: bool, unfinished: bool) -> None:
    """Delete artifacts that no cell and no interrupted run needs, damaged ones, leftovers. Not during a run."""
    from bench.cli.housekeeping import collect_garbage

    collect_garbage(store, dry_run, unfinished)


@cli.command()
@click.option("--store", type=_FOLDER, default=Path("results"), show_default=True)
@click.option("--data-root", type=_FOLDER, default=Path("data"), show_default=True)
def doctor(store: Path, data_root: Path) -> int:
    """Check this machine: packages, GPU, memory, disk, data, store. Exit code 1 if it is not ready."""
    from bench.cli.doctor import examine

    return examine(store, data_root)
