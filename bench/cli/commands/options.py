"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


def store_option(command: Any) -> Any:
    """`--store`: the folder of artifacts and cells."""
    return click.option("--store", type=FOLDER, default=Path("results"), show_default=True)(command)


def plugin_option(command: Any) -> Any:
    """`--plugin`: files to import first."""
    option = click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plug-in file.")
    return option(command)
