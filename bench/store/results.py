"""Results of finished cells, as JSON: one file per cell. Nothing here imports torch.

`CellResult` is what the leaderboard reads; its columns are documented in docs/results.md.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench.errors import UserError, naming

SCHEMA_VERSION = 2
_DATASET = {
    **dict.fromkeys(("spec", "name", "digest"), str),
    **dict.fromkeys(("train_images", "test_images", "num_classes"), int),
    "shape": list,
}

PAYS_ONCE_SECONDS = 0.2
"""Below it nobody saves anything worth hiding."""

NO_BOUND = "no norm bound"
"""Text in place of a norm and a radius where an attack promises neither."""


@dataclass(frozen=True)
class Cost:
    """Cost of one stage on one device. Unmeasured values are None, never 0.

    Attributes:
        phases: wall seconds by named phase (`fit`, `apply`, `train`, `evaluate`, ...), device-synchronised. `warm` is
            the rehearsal of a first step (loading kernels, compiling); neither another phase nor the whole contains it.
        wall_seconds: of the whole stage, without loading and storing data, and without `warm`.
        peak_gpu_bytes: largest allocation on the GPU, or None on the CPU.
        peak_host_bytes: largest resident memory of the process during the stage beyond what it held at its start.
        energy_joules: of the GPU (NVML counter) during the same time as wall_seconds, or None.
        device: name of the device: the GPU if there is one, the CPU's model and its threads.
        exclusive: False if other processes used the device meanwhile, or the stage more processors than the threads in
            the device's name; None if it could not be told.
        created: UTC time at which it was measured (ISO 8601).
        phase_joules: energy by phase, like `phases`; empty without a GPU.
        repeats: wall seconds of every run in order, where the stage was run several times; the other figures are those
            of the median run (of an even number, the lower), or of the first where `pays_once`; memory is the largest,
            `warm` that of the first run.
    """

    phases: dict[str, float]
    wall_seconds: float
    peak_gpu_bytes: int | None
    peak_host_bytes: int | None
    energy_joules: float | None
    device: str
    exclusive: bool | None
    created: str
    phase_joules: dict[str, float] = field(default_factory=dict)
    repeats: list[float] = field(default_factory=list)

    @property
    def pays_once(self) -> bool:
        """True if the first run was clearly slower than its repeats, and is therefore the one that is charged."""
        return pays_once(self.repeats)


@dataclass(frozen=True)
class Manifest:
    """Description of an artifact's data, stored in its folder.

    Attributes:
        key: digest of `preimage`.
        stage: `poison`, `purify` or `train`.
        preimage: everything the result depends on; its digest is the key.
        checksum: sha256 of the data file, or "" if there is none.
        data_bytes: size of the data file.
        alias_of: name of the input whose images this stage passed on unchanged (`dataset` or `poison`), or "".
        cost: what it cost when it was computed.
        payload: what the stage reports besides tensors: `scores`, `budget`, `logs`, `curve`, `clean_test_accuracy`, ...
        environment: versions, device, threads.
        images_digest: sha256 of the data file up to the end of `images`, or "" if it holds none.
    """

    key: str
    stage: str
    preimage: dict[str, Any]
    checksum: str
    data_bytes: int
    alias_of: str
    cost: Cost
    payload: dict[str, Any]
    environment: dict[str, Any]
    images_digest: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Component:
    """An attack, a defense or a victim as it was selected.

    Attributes:
        name: registered name (for timm victims, the model's name).
        text: the canonical selection, name and non-default parameters: `dvae:epochs=6`.
        parameters: all of them, defaults included.
        source: the paper.
        family: family name or "".
        uses: extra knowledge, for example `clean-data`.
        extra: kind-specific facts: an attack's budget, a victim's recipe, a defense's faces
            (`purifies`, `trains_differently`, `changes_recipe`, `sees_test_images`: bool).
    """

    name: str
    text: str
    parameters: dict[str, Any]
    source: str = ""
    family: str = ""
    uses: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """One (data set, attack, defense, victim, seed) of the matrix: settings, accuracy, costs, provenance.

    Attributes:
        key: name of the cell's file.
        status: `done`, `failed` or `skipped`.
        preset: name of the preset it was run under, or "".
        precision: `float32` or `bfloat16`; "" for a cell of a release that did not record it.
        dataset: `spec`, `name`, `digest`, `train_images`, `test_images`, `num_classes`, `shape`.
        attack, defense, victim: see `Component`.
        seed: of the matrix.
        clean_test_accuracy: fraction 0..1 on the whole untouched test set after the last epoch; None unless done.
        test_images: n behind that accuracy.
        curve: one record an epoch: `epoch`, `train_loss`, `train_accuracy` (eval mode, on a fixed sample of the
            training images), `clean_test_accuracy`. Empty for a victim that is fitted at once.
        costs: by stage (`poison`, `purify`, `train`).
        view_seconds: time the defense's view added to scoring all test images, or None if it has none.
        scores: diagnosis by the harness, see `bench.store.scores.SCORES`.
        logs: by stage, what the plug-in recorded.
        artifacts: by stage, the artifact's key.
        provenance: versions, device, threads, command.
        error: `stage`, `kind`, `message`, `traceback` if failed; `message` if skipped; else None.
        preimage: coordinates whose digest is the key: preset, precision, digests of the training, the test and, if
            there are any, the clean images, attack, defense and victim with all parameters, seed; empty in a cell of an
            older release.
    """

    key: str
    status: str
    preset: str
    dataset: dict[str, Any]
    attack: Component
    defense: Component
    victim: Component
    seed: int
    clean_test_accuracy: float | None = None
    test_images: int | None = None
    curve: list[dict[str, int | float | None]] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    view_seconds: float | None = None
    scores: dict[str, int | float | None] = field(default_factory=dict)
    logs: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    precision: str = ""
    preimage: list[Any] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION


def pays_once(seconds: Sequence[float]) -> bool:
    """True if the first of several runs of the same work takes over three times as long as the later ones' median.

    And 0.2 s more, which is what the first use of a library takes. The later runs then use what the first has kept.
    """
    first, *later = seconds or [0.0]
    return bool(later) and first > 3 * median(later) and first - median(later) > PAYS_ONCE_SECONDS


def of_training(phases: Mapping[str, float]) -> float:
    """Time or energy of the training of a finished `train` stage, from its seconds or its joules by phase.

    The training, what making the recipe took, and what the defense computed for its logs afterwards (`report`); not
    evaluation, building the network, or the rehearsal (`warm`).
    """
    return phases["train"] + phases.get("change_recipe", 0.0) + phases.get("report", 0.0)


def artifact_path(stage: str, key: str) -> str:
    """Folder of an artifact, below its store or exported folder."""
    return f"artifacts/{stage}/{key[:2]}/{key}"


def json_text(value: Any) -> str:
    """The text of a JSON file: the same value gives the same bytes."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Writes a temporary file and renames it: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json_text(value)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_cell(folder: Path, cell: CellResult) -> Path:
    """Stores a cell as `<folder>/<key>.json`."""
    path = folder / f"{cell.key}.json"
    write_json(path, asdict(cell))
    return path


def read_cell(path: Path) -> CellResult:
    """Reads one cell.

    Raises:
        UserError: if the file is damaged or of another schema version; it names the file and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text, parse_constant=_no_constant)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable cell ({error}); delete it and run the same command again") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: written with schema version {version}, this release reads {SCHEMA_VERSION}; "
            "use another --store or the release that wrote it"
        )
    try:
        return cell_of(text)
    except ValueError as error:
        raise UserError(f"{path}: not a cell ({error}); delete it and run the same command again") from error


def cell_of(text: str) -> CellResult:
    """The cell of a JSON text.

    Raises:
        ValueError: if it has other fields or types, or values that no run writes: `field: why`.
    """
    cell: CellResult = of_json(CellResult, text)
    if problem := next(_problems(cell), None):
        raise ValueError(problem)
    return cell


def of_json(kind: Any, text: str) -> Any:
    """A dataclass of a JSON text.

    Raises:
        ValueError: if a field is missing or has another type: `field: why`.
    """
    try:
        return _type(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _problems(cell: CellResult) -> Iterator[str]:
    """Values that no run writes, in words."""
    accuracy, done = cell.clean_test_accuracy, cell.status == "done"
    missing = [name for name, kind in _DATASET.items() if not isinstance(cell.dataset.get(name), kind)]
    keys = [cell.key, *cell.artifacts.values()]
    if cell.status not in ("done", "failed", "skipped"):
        yield f"status {cell.status!r}; choices: done, failed, skipped"
    if done != (accuracy is not None) or not 0 <= (accuracy or 0) <= 1:
        yield f"clean_test_accuracy {accuracy} of a cell that is {cell.status}; done ones have 0..1"
    if done and not cell.test_images:
        yield "test_images missing"
    if missing:
        yield f"dataset lacks {', '.join(missing)}"
    for stage, cost in cell.costs.items():
        yield from (f"costs.{stage}.{problem}" for problem in cost_problems(cost))
    if (cell.view_seconds or 0) < 0:
        yield f"view_seconds: {cell.view_seconds}, and no cost is below 0"
    if any(not re.fullmatch(r"[\w-][\w.-]*", key) for key in keys):
        yield "a key that is no file name"
    if any(point.get("epoch") is None for point in cell.curve):
        yield "a point of the curve has no epoch"


def cost_problems(cost: Cost) -> Iterator[str]:
    """Fields of a cost that no meter gives, in words."""
    values = {f"phases.{name}": value for name, value in cost.phases.items()}
    values |= {f"phase_joules.{name}": value for name, value in cost.phase_joules.items()}
    values |= {f"repeats.{number}": value for number, value in enumerate(cost.repeats)}
    names = ("wall_seconds", "peak_gpu_bytes", "peak_host_bytes", "energy_joules")
    values |= {name: value for name in names if (value := getattr(cost, name)) is not None}
    yield from (f"{name}: {value}, and no cost is below 0" for name, value in values.items() if value < 0)


@functools.cache
def _type(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
