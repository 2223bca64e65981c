"""`bench publish`, `bench figures`, `bench show`: stored cells as a site, as figures, and one on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.commands.options import FOLDER, store_option
from bench.cli.commands.run import note
from bench.errors import UserError

if TYPE_CHECKING:
    from leaderboard.tables.stores import Stored


stores_option = click.option(
    "--store", "stores", type=FOLDER, multiple=True, default=(Path("results"),), show_default=True
)
first_wins_option = click.option(
    "--first-wins", is_flag=True, help="If stores disagree on an accuracy, take the first store's and flag it."
)


def _stored(stores: tuple[Path, ...], first_wins: bool) -> Stored:
    """All cells of these stores, after a line about those that are in several of them with other results."""
    from leaderboard.tables.stores import described_repeats, read_stores

    stored = read_stores(stores, first_wins)
    for text in described_repeats(stored):
        click.echo(text, err=True)
    return stored


@click.command()
@stores_option
@click.option("--out", type=FOLDER, required=True, help="Folder of the site.")
@first_wins_option
def publish(stores: tuple[Path, ...], out: Path, first_wins: bool) -> None:
    """Write a site from all stored cells: pages that open offline, and the tables as CSV, JSON, Markdown and LaTeX."""
    from bench.cli.methods import methods
    from bench.select.tasks import task_label
    from bench.store.atomic_folder import check_folder
    from leaderboard.publish import publish as write_site
    from leaderboard.tables.table import frames_of

    check_folder(out)
    stored = _stored(stores, first_wins)
    frames = frames_of(stored.cells, stored.repeated)
    written = write_site(
        stored.cells, frames, out, stores, methods(stores), stored.repeated, note, task_label(stored.cells)
    )
    for path in written.values():
        click.echo(path)
    if not any(cell.status == "done" for cell in stored.cells):
        click.echo(f"0 of {len(stored.cells)} cells finished: {out / 'index.html'} lists why", err=True)


@click.command()
@stores_option
@click.option("--out", type=FOLDER, required=True, help="Folder of the figures.")
@click.option(
    "--cost",
    type=click.Choice(["trainings", "seconds", "joules", "memory"]),
    default="trainings",
    show_default=True,
    help="Cost axis of accuracy-cost.",
)
@first_wins_option
def figures(stores: tuple[Path, ...], out: Path, cost: str, first_wins: bool) -> None:
    """Draw figures for papers from all stored cells: PDF, SVG and PNG, one and two columns wide, with captions."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError("bench figures needs matplotlib: pip install 'purify-bench[figures]'") from error
    from bench.store.atomic_folder import FIGURES, check_folder, write_folder
    from leaderboard.figures.files import COSTS, draw_figures
    from leaderboard.tables.table import frames_of

    check_folder(out, FIGURES)
    stored = _stored(stores, first_wins)
    drawn = draw_figures(frames_of(stored.cells, stored.repeated), COSTS[cost])
    write_folder(out, drawn.files, FIGURES)
    for line in drawn.absent:
        click.echo(line, err=True)
    for path in drawn.figures:
        click.echo(f"{out / path}-{{single,double}}.{{pdf,svg,png}}, caption {path.rpartition('/')[2]}.txt")


@click.command()
@click.argument("cell")
@store_option
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
