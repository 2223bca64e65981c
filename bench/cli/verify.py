"""`bench verify` in lines: what is wrong with an exported folder, and whether its cells come out again."""

from __future__ import annotations

from pathlib import Path

import click

from bench.errors import in_one_line
from bench.formats import counted, percent
from bench.portable.checks import check_export
from bench.portable.reading import Export
from bench.portable.rerun import Rerun, chosen_cells, run_again
from bench.portable.sources import source_notes
from bench.run.prepare import Options

_SHOWN = 50


def print_checks(export: Export) -> int:
    """Prints the problems of a folder, or what it holds; returns 0 if nothing is wrong, else 1."""
    folder = export.root
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
    click.echo(f"{folder}: hashes, schema, keys and plausibility hold")
    return 0


def print_reruns(export: Export, count: int | None, seed: int, options: Options, store: Path | None) -> int:
    """Computes cells of a folder again and prints whether they agree; returns 0 if all do, else 1.

    Args:
        export: a folder without problems.
        count: how many cells; None for all that are finished.
        seed: of the sample.
        options: see `run_again`.
        store: see `run_again`.
    """
    cells = chosen_cells(export, count, seed)
    sample = f" (sample of seed {seed})" if count is not None else ""
    click.echo(f"computing {counted(len(cells), 'cell')} again{sample}")
    agree = 0
    for found in run_again(export, cells, options, store):
        agree += found.agrees
        click.echo(_plain(_told(found)))
    click.echo(f"{agree} of {counted(len(cells), 'cell')} agree")
    return 0 if agree == len(cells) else 1


def _told(found: Rerun) -> str:
    cell = found.there
    name = f"{cell.key[:12]} {cell.attack.text} / {cell.defense.text} / {cell.victim.text}, seed {cell.seed}"
    if found.problem or found.here is None:
        return f"not computed: {name}: {found.problem}"
    allowed = (
        f"up to {100 * found.allowed:.1f} points" if found.allowed else "none, both are deterministic on one device"
    )
    costs = [
        f"{words} {ratio:.2f} times"
        for stage, words in (("purify", "purification"), ("train", "training"))
        if (ratio := found.ratio(stage)) is not None
    ]
    return "; ".join(
        [
            f"{'agrees' if found.agrees else 'DIFFERS'}: {name}: {percent(found.here.clean_test_accuracy)} % here, "
            f"{percent(cell.clean_test_accuracy)} % exported, difference {100 * found.difference:+.1f} points "
            f"(allowed: {allowed})",
            *([f"time here: {', '.join(costs)} the exported"] if costs else []),
            *([] if found.same_source else ["computed by another source than the exported"]),
        ]
    )


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
