"""Cells of an exported folder computed again on this machine, and whether the results agree."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory

from scipy.special import stdtrit

from bench.errors import UserError
from bench.measure.probes import processors
from bench.portable.components import components_of
from bench.portable.coordinates import short
from bench.portable.folder import json_bytes
from bench.portable.names import KINDS, under_its_name
from bench.portable.reading import Export
from bench.portable.sources import sources_of
from bench.run.prepare import Options, choose_executor, prepared
from bench.run.runner import Silent, run_plan
from bench.select.settings import Settings
from bench.stages.jobs import ROLES
from bench.store.results import CellResult, of_training

_LEAST_SEEDS = 3
_MOST = 0.05
"""Widest interval over seeds that counts, a fraction: the seeds are the submitter's claim, as the accuracies are."""
_SHORT = 1e-3  # s: a purification that passes its input on takes no time to compare


@dataclass(frozen=True)
class Rerun:
    """A cell, and the same cell computed here.

    Attributes:
        there: as exported.
        here: as computed; None if it cannot be.
        problem: why it cannot be computed, or failed; "" if it is finished.
        allowed: largest difference of the accuracies (fractions) that agrees; 0.0 where they must be equal.
    """

    there: CellResult
    here: CellResult | None
    problem: str = ""
    allowed: float = 0.0

    @property
    def difference(self) -> float:
        """Accuracy here minus there, a fraction; not a number if there is none."""
        if self.here is None or self.here.clean_test_accuracy is None:
            return math.nan
        return self.here.clean_test_accuracy - (self.there.clean_test_accuracy or 0.0)

    @property
    def agrees(self) -> bool:
        """True if both accuracies are one result."""
        return not self.problem and abs(self.difference) <= self.allowed

    @property
    def same_source(self) -> bool:
        """True if all keys are equal: the same source, parameters and data computed both."""
        return self.here is not None and self.here.artifacts == self.there.artifacts

    def ratio(self, stage: str) -> float | None:
        """Seconds of `purify` or `train` here over those there; None if that took no time or is not known."""
        pair = [cell.costs.get(stage) for cell in (self.here, self.there) if cell is not None]
        found = [of_training(cost.phases) if stage == "train" else cost.wall_seconds for cost in pair if cost]
        return found[0] / found[1] if len(found) == 2 and min(found) > _SHORT else None


@dataclass(frozen=True)
class Drift:
    """Differences of one defense's cells in one direction, which may be small in each of them.

    Attributes:
        defense: its selection.
        cells: how many were compared by an interval; those that must be equal are not among them.
        mean: of the differences, here minus there, a fraction.
        allowed: half of the 95 % interval of that mean, from those of the cells.
    """

    defense: str
    cells: int
    mean: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """True if the mean is in its interval."""
        return abs(self.mean) <= self.allowed


def drifts(reruns: Sequence[Rerun]) -> list[Drift]:
    """By defense, the mean difference of the cells that may differ, where there are at least two."""
    found: dict[str, list[Rerun]] = {}
    for one in reruns:
        if not one.problem and one.allowed > 0:
            found.setdefault(one.there.defense.text, []).append(one)
    return [
        Drift(
            defense,
            len(group),
            fmean(one.difference for one in group),
            math.sqrt(sum(one.allowed**2 for one in group)) / len(group),
        )
        for defense, group in sorted(found.items())
        if len(group) > 1
    ]


def chosen_cells(export: Export, count: int | None, seed: int) -> list[CellResult]:
    """Finished cells: all of them, or a random sample in which those of the folder's plug-ins come first.

    Then come those of other defenses, and the undefended ones last; of each, poisoned cells before those of clean data.

    Raises:
        UserError: if one names a component that this process does not have.
    """
    done = sorted((cell for cell in export.cells.values() if cell.status == "done"), key=lambda cell: cell.key)
    files = {label: one.file for one in (export.index.plugins if export.index else ()) for label in one.components}

    def place(cell: CellResult) -> tuple[bool, bool, bool]:
        manifests = (one for item in cell.artifacts.items() for one in export.manifests[item].values())
        in_plugin = bool(files.keys() & sources_of(manifests).keys())
        return not in_plugin, not in_plugin and cell.defense.name == "none", cell.attack.name == "none"

    cells = done
    if count is not None:
        random.Random(seed).shuffle(done)
        cells = sorted(done, key=place)[:count]
    for cell in cells:
        try:
            components_of(cell)
        except UserError as error:
            hint = ", ".join(f"--plugin {export.root / file} ({label})" for label, file in files.items())
            raise UserError(
                f"{error}" + (f" Read the folder's plug-ins, then give them: {hint}." * bool(hint))
            ) from error
    return cells


def run_again(
    export: Export,
    cells: Sequence[CellResult],
    options: Options,
    store: Path | None = None,
    dataset: str = "",
) -> Iterator[Rerun]:
    """Computes each cell in a store that does not know it, with its own precision, determinism and threads.

    Args:
        export: the folder; its seeds say how far two runs may differ.
        cells: finished ones of it.
        options: device, data and plug-ins; the rest is that of each cell.
        store: what stays after a stop; None for one that is removed at the end.
        dataset: the same images at another place here (`npz:PATH`); "" for the selection in each cell.

    Raises:
        UserError: if the store holds the exported results themselves.
    """
    with ExitStack() as stack:
        if store is None:
            store = Path(stack.enter_context(TemporaryDirectory(prefix="bench-verify-")))
        for cell in cells:
            try:
                here = _computed(cell, replace(options, store=store), dataset)
            except UserError as error:
                yield Rerun(cell, None, str(error))
                continue
            if here.costs == cell.costs:
                raise UserError(f"store {store} holds the exported results themselves; give another --store")
            if here.key != cell.key:
                yield Rerun(cell, here, "the data set has another content here")
            elif here.status != "done":
                yield Rerun(cell, here, str((here.error or {}).get("message", here.status)))
            elif problem := other_words(cell, here, ("spec", "name") if dataset else ()):
                yield Rerun(cell, here, problem)
            else:
                interval = max(interval_of_images(here, cell), interval_of_seeds(cell, export))
                yield Rerun(cell, here, "", 0.0 if must_be_equal(here, cell) else interval)


def other_words(there: CellResult, here: CellResult, of_place: Sequence[str] = ()) -> str:
    """The first name or description that a cell has only in the folder: the board would show it.

    Args:
        there: as exported.
        here: as computed.
        of_place: what the data set says of its place; its content is compared by digest.
    """
    exported, computed = (json.loads(json_bytes(asdict(cell))) for cell in (there, here))
    one_source = there.artifacts == here.artifacts  # another one may describe itself otherwise
    for part in ("dataset", *ROLES.values()):
        for name, value in computed[part].items():
            if (
                name != "notes"
                and not (part == "dataset" and name in of_place)
                and (part == "dataset" or one_source or name == "name")
                and exported[part].get(name) != value
            ):
                return f"{part}.{name}: {short(exported[part].get(name))} in the folder, {short(value)} here"
    return ""


def must_be_equal(one: CellResult, other: CellResult) -> bool:
    """True if both were computed `--deterministic`, by one release of PyTorch on one kind of device."""
    names = ("torch", "torchvision", "numpy", "cuda", "deterministic")
    same = all(one.provenance.get(name) == other.provenance.get(name) for name in names)
    devices = [{stage: cost.device for stage, cost in cell.costs.items()} for cell in (one, other)]
    return same and devices[0] == devices[1] and one.provenance.get("deterministic") is True


def interval_of_images(one: CellResult, other: CellResult) -> float:
    """Half of the 95 % interval of the difference of two accuracies, from the test images alone (Agresti, Caffo 2000).

    With one success and one failure added to each, it is not empty at 0 % and 100 %.
    """
    variance = 0.0
    for cell in (one, other):
        n = (cell.test_images or 0) + 2
        share = ((cell.clean_test_accuracy or 0.0) * (n - 2) + 1) / n
        variance += share * (1 - share) / n
    return 1.96 * math.sqrt(variance)


def interval_of_seeds(cell: CellResult, export: Export) -> float:
    """Half of the 95 % interval of the difference of two runs, from the folder's seeds of the cell; 0.0 below three.

    Never more than 5 points: seeds that differ by more would let any accuracy agree.
    """
    seeds = [
        one.clean_test_accuracy
        for one in export.cells.values()
        if one.preimage[:6] == cell.preimage[:6] and one.clean_test_accuracy is not None
    ]
    if len(seeds) < _LEAST_SEEDS:
        return 0.0
    return min(float(stdtrit(len(seeds) - 1, 0.975)) * stdev(seeds) * math.sqrt(2), _MOST)


def _computed(cell: CellResult, options: Options, dataset: str) -> CellResult:
    attack, defense, victim = (
        under_its_name(kind, getattr(cell, role), text)
        for (role, kind), text in zip(KINDS.items(), cell.preimage[3:6], strict=True)
    )
    settings = Settings(cell.preset, dataset or cell.dataset["spec"], [attack], [defense], [victim], [cell.seed])
    threads = cell.provenance.get("threads")
    fits = isinstance(threads, int) and not cell.provenance.get("cuda") and 1 <= threads <= processors()
    options = replace(
        options,
        precision=cell.precision,
        deterministic=cell.provenance.get("deterministic") is True,
        threads=options.threads or (threads if fits else None),
        baselines=False,
    )
    with prepared([settings], options) as ready:
        return run_plan(ready.plan, ready.store, choose_executor("inline"), Silent(), ready.seconds).cells[0]
