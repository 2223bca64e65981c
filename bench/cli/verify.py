"""`bench verify`: what is wrong with an exported folder, in lines."""

from __future__ import annotations

from pathlib import Path

import click

from bench.errors import in_one_line
from bench.formats import counted
from bench.portable.checks import check_export
from bench.portable.reading import Export, read_export
from bench.portable.sources import source_notes

_SHOWN = 50


def print_checks(folder: Path) -> int:
    """Checks a folder and prints its problems and what it holds; returns 0 if nothing is wrong, else 1."""
    export = read_export(folder)
    problems = check_export(export)
    for problem in problems[:_SHOWN]:
        click.echo(f"refused: {_plain(problem)}")
    if problems:
        click.echo(f"{folder}: {counted(len(problems), 'problem')}")
        return 1
    for note in source_notes(export):
        click.echo(f"note: {_plain(note)}")
    for line in _content(export):
        click.echo(_plain(line))
    click.echo(f"{folder}: hashes, schema, keys and plausibility hold; nothing was computed again")
    return 0


def _content(export: Export) -> list[str]:
    cells = export.cells.values()
    done = [cell for cell in cells if cell.status == "done"]
    devices = sorted({cost.device for cell in cells for cost in cell.costs.values()})
    versions = sorted({f"torch {cell.provenance.get('torch')}" for cell in done})
    commands = sorted({str(cell.provenance.get("command")) for cell in cells})
    return [
        f"{counted(len(cells), 'cell')}, {len(done)} finished; {counted(len(export.manifests), 'artifact')}",
        *(f"measured on {device}" for device in devices),
        f"versions: {', '.join(versions) or 'none'}",
        *(f"command: {command}" for command in commands),
    ]


def _plain(text: str) -> str:
    """One line without control characters: parts of it are a stranger's."""
    return "".join(char if char.isprintable() else "?" for char in in_one_line(text))
