"""Measures one GPU without network, slice by slice, into one JSON file and one table.

\b
python -m gpu --list                            what there is
python -m gpu --data npz:cifar10.npz            every slice that the file lacks
python -m gpu --seeds 3                         what `fast` needs to be accepted
python -m gpu --slice rates/at --slice 'fast/*' these, also if the file has them
python -m gpu --minutes 4                       begins no slice after four minutes
python -m gpu --engine compile --store DIR      accuracies with compiled training
python -m gpu --toy                             toy sizes on the CPU: does it work?
python -m gpu --render                          tables into docs/measurements.md

The same command continues where it stopped: the file keeps slices, the store trainings.
"""

from __future__ import annotations

import sys
import time
import traceback
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.exits import run_command
from bench.errors import UserError

if TYPE_CHECKING:
    from gpu.cells import Place
    from gpu.scale import Scale


@click.command("python -m gpu", help=__doc__)
@click.option("--list", "only_list", is_flag=True, help="Print the slices and leave.")
@click.option("--slice", "patterns", multiple=True, help="Name or glob; several times.")
@click.option("--toy", is_flag=True, help="Toy sizes.")
@click.option("--minutes", type=float, default=float("inf"), help="Begin no slice after this time.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="A slice each: 0, 1, ...")
@click.option("--data", help="Data set of the accuracies: npz:PATH, folder:PATH, cifar10 (default), ...")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), show_default=True)
@click.option("--store", type=click.Path(path_type=Path), help="Default: results/gpu, with --toy results/gpu-toy.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: docs/gpu.json, with --toy in the store.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")
@click.option(
    "--engine", type=click.Choice(["auto", "eager", "compile", "graph"]), default="auto", help="Of the accuracies."
)
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", help="Of everything.")
@click.option("--render", "only_render", is_flag=True, help="Write the tables into docs/measurements.md and leave.")
def main(
    only_list: bool,
    patterns: tuple[str, ...],
    toy: bool,
    minutes: float,
    seeds: int,
    data: str | None,
    data_root: Path,
    store: Path | None,
    out: Path | None,
    device: str,
    engine: str,
    precision: str,
    only_render: bool,
) -> None:
    from bench.run.prepare import Options
    from gpu import cells, rates, report
    from gpu.scale import FULL, TOY

    scale = TOY if toy else FULL
    store = store or Path("results/gpu-toy" if toy else "results/gpu")
    named = out is not None or toy
    out = out or (store / "gpu.json" if toy else Path("docs/gpu.json"))
    names = [*rates.SLICES, *cells.names(scale, seeds)]
    if only_list:
        click.echo("\n".join(names))
        return
    if only_render:
        if named and not out.exists():
            raise UserError(f"--out {out}: no such file; measure first, or name the file that was written")
        report.write_section(Path("docs/measurements.md"), report.read(out))
        return
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise UserError(f"no slice matches {pattern!r}; `python -m gpu --list` names them")
    options = Options(store, data_root, _device(device, toy), engine, precision=precision)
    place = cells.Place(data or scale.data, options)
    if not place.device.startswith("cuda"):
        names = [name for name in names if not name.endswith("-graph")]

    start = time.monotonic()
    slices = report.read(out)
    known = {
        name for name, entry in slices.items() if "error" not in entry and entry["asked"] == _asked(name, scale, place)
    }
    wanted = [n for n in names if any(fnmatch(n, p) for p in patterns) or (not patterns and n not in known)]
    if any(name not in rates.SLICES for name in wanted):
        cells.check_place(scale, place)
    for number, name in enumerate(wanted):
        if time.monotonic() - start > 60 * minutes:
            click.echo(f"{len(wanted) - number} slices left; the same command continues")
            break
        entry = _measure(name, scale, place)
        report.merge(out, name, entry)
        click.echo(f"{name}: {entry.get('error', 'done')}, {entry['seconds']:.1f} s")
    slices = report.read(out)
    click.echo(f"\n{report.render(slices)}\n{out}")
    sys.exit(any("error" in entry for entry in slices.values()))


def _device(text: str, toy: bool) -> str:
    from bench.run.devices import choose_device

    chosen = choose_device("cpu" if toy and text == "auto" else text)
    if text == "auto" and chosen == "cpu" and not toy:
        raise UserError("no CUDA device here; --toy runs everything at toy size, --device cpu in full (days)")
    return chosen


def _asked(name: str, scale: Scale, place: Place) -> dict[str, str]:
    """Conditions of a slice's result, besides its name: it is known only if this is the same."""
    import torch

    from bench.measure.cost import device_name
    from gpu import rates

    asked = {
        "scale": scale.name,
        "device": device_name(torch.device(place.device)),
        "precision": place.engine.precision,
    }
    return asked if name in rates.SLICES else {**asked, "data": place.data, "engine": place.engine.mode}


def _measure(name: str, scale: Scale, place: Place) -> dict[str, Any]:
    """One slice with where and when; its failure is a record, and the others continue."""
    from datetime import UTC, datetime

    import torch

    from bench.stages.environment import environment
    from gpu import cells, rates

    entry: dict[str, Any] = {
        "asked": _asked(name, scale, place),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(place.device, place.engine),
    }
    start = time.monotonic()
    try:
        if name in rates.SLICES:
            entry["rate"] = rates.SLICES[name](scale, torch.device(place.device), place.engine.precision)
        else:
            entry["cells"] = cells.run_slice(name, scale, place)
            failed = [cell["error"] for cell in entry["cells"] if cell["status"] != "done"]
            if failed:
                entry["error"] = _line(f"{failed[0]['kind']} in {failed[0]['stage']}: {failed[0]['message']}")
    except cells.WrongStoreError:
        raise
    except UserError as error:
        entry["error"] = _line(str(error))
    except Exception as error:  # out of memory, no compiler: the other slices still say something
        traceback.print_exc()
        entry["error"] = _line(f"{type(error).__name__}: {error}")
    return {**entry, "seconds": round(time.monotonic() - start, 3)}


def _line(text: str) -> str:
    """The first line of a reason, as the table shows it; a compiler's has pages, which are printed elsewhere."""
    return text.strip().partition("\n")[0]


def run() -> None:
    """The command with its errors as lines: what the user can fix ends with 2, Ctrl-C with 130."""
    run_command(main, "finished slices are in the file: the same command continues")
