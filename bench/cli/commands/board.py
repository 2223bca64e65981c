"""`bench publish` and `bench show`: stored cells as a site, and one of them on the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.commands.options import FOLDER, store_option
from bench.cli.commands.run import note
from bench.errors import UserError


@click.command()
@click.option("--store", "stores", type=FOLDER, multiple=True, default=(Path("results"),), show_default=True)
@click.option("--out", type=FOLDER, required=True, help="Folder of the site.")
@click.option(
    "--first-wins", is_flag=True, help="If stores disagree on an accuracy, take the first store's and flag it."
)
def publish(stores: tuple[Path, ...], out: Path, first_wins: bool) -> None:
    """Write a site from all stored cells: pages that open offline, and the tables as CSV, JSON, Markdown and LaTeX."""
    from bench.cli.methods import methods
    from leaderboard.export.atomic_folder import check_folder
    from leaderboard.publish import publish as write_site
    from leaderboard.tables.stores import described_repeats, read_stores
    from leaderboard.tables.table import frames_of

    check_folder(out)
    stored = read_stores(stores, first_wins)
    for text in described_repeats(stored):
        click.echo(text, err=True)
    frames = frames_of(stored.cells, stored.repeated)
    for path in write_site(stored.cells, frames, out, stores, methods(), stored.repeated, note).values():
        click.echo(path)
    if not any(cell.status == "done" for cell in stored.cells):
        click.echo(f"0 of {len(stored.cells)} cells finished: {out / 'index.html'} lists why", err=True)


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
