"""`bench doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.commands.options import FOLDER, store_option


@click.command()
@store_option
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True)
def doctor(store: Path, data_root: Path) -> int:
    """Check this machine: packages, GPU, memory, disk, data, store. Exit code 1 if it is not ready."""
    from bench.cli.doctor import examine

    return examine(store, data_root)
