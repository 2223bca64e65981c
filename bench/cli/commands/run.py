"""`bench run` and `bench plan`: a matrix from options and files. `bench sweep` shares their options and the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.commands.options import FOLDER, plugin_option
from bench.errors import UserError
from bench.formats import counted

if TYPE_CHECKING:
    from rich.console import Console

    from bench.run.executors import Executor
    from bench.run.prepare import Prepared
    from leaderboard.tables.table import Frames


def matrix_options(command: Any) -> Any:
    """Options that say what a matrix holds and how it is computed."""
    options = [
        click.argument("config", type=click.Path(path_type=Path, dir_okay=False), required=False),
        click.option("--attacks", help="Selections: names, name:parameter=value, globs, all, chains (lsp+ops)."),
        click.option("--defenses", help="The same; `iss` selects its family."),
        click.option("--victims", help="small-cnn, or any timm model name."),
        click.option("--dataset", help="shapes, cifar10:train=2000, npz:PATH, folder:PATH:size=224, ..."),
        click.option("--preset", help="demo, cpu, fast or paper (default)."),
        click.option("--seeds", help="A count (3) or a list (0,5)."),
        click.option("--task", help="A named matrix: only --defenses is a choice (default: its baselines)."),
        click.option("--store", type=FOLDER, default=Path("results"), show_default=True, help="Artifacts and cells."),
        click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Downloaded data."),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto, cpu, cuda, cuda:1; of the executor's machines.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="CPU threads (default: all cores; local: a share).",
        ),
        click.option(
            "--repeat-costs",
            type=click.IntRange(min=1),
            default=1,
            metavar="N",
            help="Run purifications N times, and take the median cost (short ones: up to 5 times in any case).",
        ),
        click.option(
            "--engine",
            type=click.Choice(["auto", "eager", "compile", "graph"]),
            default="auto",
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
        plugin_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run_options(command: Any) -> Any:
    """Options that say where the jobs run and where the leaderboard goes."""
    options = [
        click.option("--executor", default="inline", show_default=True, help="inline, local:gpus=all, submitit, ray."),
        click.option(
            "--stage-timeout",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Stop a job that takes longer, and record it as failed. Needs an executor with processes: "
            "local, submitit, ray.",
        ),
        click.option("--out", type=FOLDER, help="Folder of the leaderboard (default: STORE/leaderboard)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@matrix_options
@run_options
def run(config: Path | None, executor: str, out: Path | None, **options: Any) -> int:
    """Run a matrix (CONFIG: a TOML file) and write its leaderboard. Run it again to continue."""
    return run_and_publish(config, executor, out, **options)


def run_and_publish(
    config: Path | None,
    executor: str,
    out: Path | None,
    also_print: Callable[[Frames, Console], None] | None = None,
    **options: Any,
) -> int:
    """Runs the matrix of a command line, prints and writes its leaderboard; returns the exit code.

    Args:
        config: a file of settings.
        executor: a selection.
        out: folder of the leaderboard; None for the store's.
        also_print: prints more about the results, below the leaderboard.
        options: the other values of `matrix_options` and `run_options`.
    """
    from rich.console import Console

    from bench.cli.methods import methods
    from bench.cli.summary import print_outcome
    from bench.run.executors.inline import ended_before
    from bench.run.prepare import choose_executor, more_gpus
    from bench.run.progress import progress_display
    from bench.run.runner import run_plan
    from bench.select.tasks import task_label
    from bench.stages.capture import past_the_logs
    from bench.store.atomic_folder import check_folder
    from leaderboard.export.terminal import print_leaderboard
    from leaderboard.publish import publish
    from leaderboard.tables.table import frames_of

    chosen = choose_executor(executor)
    out = out or options["store"] / "leaderboard"
    check_folder(out)
    with past_the_logs() as stream, _prepared(config, chosen, runs=True, **options) as ready:
        plan, store = ready.plan, ready.store
        _print_notes(ready, chosen)
        if hint := more_gpus(plan, chosen):
            note(hint)
        if ready.shared and plan.pending():
            note(
                f"another run is active in store {store.root}: a job that both runs lack is computed twice; "
                "stop one of them, or give it another --store"
            )
        for line in ended_before(plan.pending(), store):
            note(line)
        with progress_display(Console(file=stream), ready.history) as display:
            outcome = run_plan(plan, store, chosen, display, ready.seconds)
        if store.read_only and out.resolve().is_relative_to(store.root.resolve()):
            raise UserError(
                f"store {store.root} is read-only and has all of this matrix: add --out ELSEWHERE to publish it, or "
                f"run `bench publish --store {store.root} --out ELSEWHERE` to publish all its cells"
            )
        console = Console()
        frames = frames_of(outcome.cells)
        print_leaderboard(frames.board, console)
        if also_print is not None:
            also_print(frames, console)
        paths = publish(outcome.cells, frames, out, [store.root], methods(), note=note, task=task_label(outcome.cells))
    print_outcome(outcome, [paths["leaderboard.csv"], paths["index.html"]], console)
    return 1 if outcome.failed else 0


@click.command()
@matrix_options
@run_options
@click.option("--jobs", is_flag=True, help="List every job, not only the number of jobs by stage and component.")
def plan(config: Path | None, executor: str, out: Path | None, jobs: bool, **options: Any) -> None:
    """Show the jobs of a run, the cached ones and the expected time. Runs nothing.

    It takes all options of `bench run`: --out and --stage-timeout do not matter.
    """
    from bench.cli.forecast import print_plan
    from bench.run.prepare import choose_executor

    chosen = choose_executor(executor)
    with _prepared(config, chosen, runs=False, **options) as ready:
        _print_notes(ready, chosen)
        print_plan(ready.plan, ready.store, ready.splits, each_job=jobs, slots=chosen.slots)


def _prepared(
    config: Path | None,
    executor: Executor,
    attacks: str | Sequence[str] | None,
    defenses: str | Sequence[str] | None,
    victims: str | None,
    dataset: str | None,
    preset: str | None,
    seeds: str | None,
    *,
    task: str | None = None,
    stage_timeout: float | None = None,
    runs: bool,
    **options: Any,
) -> AbstractContextManager[Prepared]:
    """The plan of a command line, see `bench.run.prepare`."""
    import shlex

    from bench.run.prepare import Options, prepared
    from bench.select.settings import Settings, read_settings
    from bench.select.tasks import of_task

    layers = [read_settings(config)] if config else []
    layers.append(Settings(preset, dataset, attacks, defenses, victims, seeds, stage_timeout=stage_timeout))
    if options["threads"] is None:
        options["threads"] = executor.threads
    command = shlex.join(["bench", *sys.argv[1:]])
    return prepared(of_task(task, layers), Options(**options, command=command, elsewhere=executor.elsewhere), runs=runs)


def _print_notes(ready: Prepared, executor: Executor) -> None:
    from bench.measure.probes import processors
    from bench.run.executors import NO_LIMIT

    for line in ready.splits.notes:
        note(line)
    session, there = ready.plan.session, processors()
    threads = None if session.elsewhere else session.threads
    if threads is not None and threads > there:
        note(
            f"--threads {threads}: this process may use {counted(there, 'processor')}; "
            "more threads than that are slower"
        )
    if session.device == "cpu" and not executor.elsewhere and there < executor.slots < NO_LIMIT:
        note(
            f"--executor: {executor.slots} processes, and this one may use {counted(there, 'processor')}; "
            "more processes than that are slower"
        )


def note(line: str) -> None:
    """Prints what a user should know and need not mend."""
    click.echo(f"note: {line}", err=True)
