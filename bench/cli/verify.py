"""`bench verify` in lines: what is wrong with an exported folder, and whether its cells come out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from bench.errors import in_one_line
from bench.formats import counted, device, percent
from bench.portable.checks import check_export
from bench.portable.reading import Export
from bench.portable.rerun import Rerun, chosen_cells, drifts, run_again
from bench.portable.sources import source_notes
from bench.run.prepare import Options
from bench.select.tasks import task_label
from bench.store.results import CellResult

_SHOWN = 50


def print_checks(export: Export, strict: bool = False) -> int:
    """Prints the problems of a folder, or what it holds; returns 0 if nothing is wrong, else 1.

    Args:
        export: what was read of it.
        strict: a note is a problem too.
    """
    folder = export.root
    problems = check_export(export)
    for problem in problems[:_SHOWN]:
        click.echo(f"refused: {_plain(problem)}")
    if problems:
        click.echo(f"{folder}: {counted(len(problems), 'problem')}")
        return 1
    notes = list(source_notes(export))
    for note in notes:
        click.echo(f"note: {_plain(note)}")
    for line in _content(export):
        click.echo(_plain(line))
    if strict and notes:
        click.echo(f"{folder}: {counted(len(notes), 'note')}, and --strict accepts none")
        return 1
    click.echo(f"{folder}: hashes, schema, keys and plausibility hold")
    return 0


def print_reruns(
    export: Export,
    count: int | None,
    seed: int,
    options: Options,
    store: Path | None,
    other_source: bool = False,
    dataset: str = "",
) -> int:
    """Computes cells of a folder again and prints whether they agree; returns 0 if all do, else 1.

    Args:
        export: a folder without problems.
        count: how many cells; None for all that are finished.
        seed: of the sample.
        options: see `run_again`.
        store: see `run_again`.
        other_source: a cell may agree though this checkout has another source than it was computed with.
        dataset: see `run_again`.
    """
    cells = chosen_cells(export, count, seed)
    if not cells:
        click.echo("no cell of the folder is finished: there is nothing to compute again")
        return 1
    sample = f" (sample of seed {seed})" if count is not None else ""
    click.echo(f"computing {counted(len(cells), 'cell')} again{sample}")
    reruns, agree = [], 0
    for found in run_again(export, cells, options, store, dataset):
        reruns.append(found)
        agree += found.agrees and (found.same_source or other_source)
        click.echo(_plain(_told(found, other_source)))
    means = drifts(reruns)
    for mean in means:
        click.echo(
            _plain(
                f"{'agrees' if mean.agrees else 'DIFFERS'}: {mean.defense}: mean difference of {mean.cells} cells "
                f"{100 * mean.mean:+.1f} points (allowed: up to {100 * mean.allowed:.1f} points)"
            )
        )
    for line in _extent(export, cells):
        click.echo(_plain(line))
    click.echo(f"{agree} of {counted(len(cells), 'cell')} agree")
    return 0 if agree == len(cells) and all(mean.agrees for mean in means) else 1


def _extent(export: Export, cells: Sequence[CellResult]) -> list[str]:
    """Defenses of which cells were chosen to be computed again, and those of which none was."""
    done = Counter(cell.defense.text for cell in export.cells.values() if cell.status == "done")
    chosen = Counter(cell.defense.text for cell in cells)
    shares = [f"{defense} ({chosen[defense]} of {counted(done[defense], 'cell')})" for defense in sorted(chosen)]
    left_out = sorted(done.keys() - chosen.keys())
    return [
        f"computed again: {', '.join(shares)}",
        *([f"not computed again, no cell of: {', '.join(left_out)}"] if left_out else []),
    ]


def _told(found: Rerun, other_source: bool) -> str:
    cell = found.there
    name = f"{cell.key[:12]} {cell.attack.text} / {cell.defense.text} / {cell.victim.text}, seed {cell.seed}"
    if found.problem or found.here is None:
        return f"not computed: {name}: {found.problem}"
    allowed = (
        f"up to {100 * found.allowed:.1f} points" if found.allowed else "none, both are deterministic on one device"
    )
    verdict = "DIFFERS" if not found.agrees else "agrees"
    if found.agrees and not found.same_source and not other_source:
        verdict = "ANOTHER SOURCE"
    costs = [
        f"{words} {ratio:.2f} times"
        for stage, words in (("purify", "purification"), ("train", "training"))
        if (ratio := found.ratio(stage)) is not None
    ]
    return "; ".join(
        [
            f"{verdict}: {name}: {percent(found.here.clean_test_accuracy)} % here, "
            f"{percent(cell.clean_test_accuracy)} % exported, difference {100 * found.difference:+.1f} points "
            f"(allowed: {allowed})",
            *([f"time here: {', '.join(costs)} the exported"] if costs else []),
            *(
                []
                if found.same_source
                else ["computed by another source than the exported (--other-source accepts that)"]
            ),
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
        f"task: {task_label(cells) or 'none that all cells are of'}",
        *_defenses(export),
        *(f"measured on {device(name)}" for name in devices),
        f"versions: {', '.join(versions) or 'none'}",
        *(f"command: {command}" for command in commands),
    ]


def _defenses(export: Export) -> list[str]:
    """The defenses by name, those of the folder's plug-ins first: a submission may hold cells of other people's."""
    added = {label for plugin in (export.index.plugins if export.index else ()) for label in plugin.components}
    names = {cell.defense.name for cell in export.cells.values()}
    own = {name for name in names if any(f"defense {part}" in added for part in name.split("+"))}
    told = {"defenses of its plug-ins": own, "other defenses" if own else "defenses": names - own}
    return [f"{words}: {', '.join(sorted(found))}" for words, found in told.items() if found]


def _plain(text: str) -> str:
    """One line without control characters: parts of it are a stranger's."""
    return "".join(char if char.isprintable() else "?" for char in in_one_line(text))
