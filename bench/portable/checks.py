"""Checks of cells and manifests against each other: each value follows from another one, or could be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from bench.plan.keys import SCHEMA_EPOCH
from bench.portable.coordinates import chain, coordinates, short
from bench.portable.descriptions import Registered, differences
from bench.portable.folder import manifest_path
from bench.portable.plausibility import plausible
from bench.portable.reading import Export
from bench.portable.repeats import repeats
from bench.portable.sources import plugin_problems
from bench.run.records import judged, measured
from bench.select.spec import digest
from bench.stages.jobs import STAGES
from bench.store.artifacts import DATA_FILE
from bench.store.data_files import bytes_of_predictions
from bench.store.results import SCHEMA_VERSION, CellResult, Manifest, artifact_path, cost_problems


def check_export(export: Export) -> list[str]:
    """All that is wrong with a folder, as `FILE: FIELD: why`; nothing is computed again."""
    problems = list(export.problems)
    for (stage, key), of_artifact in export.manifests.items():
        for path, manifest in of_artifact.items():
            problems += (f"{path}: {problem}" for problem in _of_manifest(manifest, stage, key))
            data = f"{artifact_path(stage, key)}/{DATA_FILE}"
            listed = export.index.files.get(data) if export.index else None
            if listed is not None and path == manifest_path(stage, key) and listed != manifest.checksum:
                problems.append(f"{path}: checksum: {manifest.checksum[:12]!a}..., {data} has {listed[:12]}...")
    problems += repeats(export.manifests)
    used, registered = set(), Registered()
    for path, cell in export.cells.items():
        found = {stage: export.manifests.get((stage, key), {}) for stage, key in cell.artifacts.items()}
        used |= set(cell.artifacts.items())
        if lacking := [manifest_path(*item) for item in cell.artifacts.items() if not found[item[0]]]:
            problems += (f"{path}: artifacts: {manifest} is missing" for manifest in lacking)
            continue
        problems += (f"{path}: {problem}" for problem in _of_cell(cell, path, found, registered))
    for item in sorted(export.manifests.keys() - used):
        problems.append(f"{manifest_path(*item)}: no cell of the folder names it")
    if export.index and not export.cells and not problems:
        problems.append("cells: the folder holds no cell")
    return [*problems, *plugin_problems(export)] if not export.problems else problems


def _of_cell(
    cell: CellResult, path: str, found: Mapping[str, Mapping[str, Manifest]], registered: Registered
) -> Iterator[str]:
    if (problem := coordinates(cell, path)) or (problem := plausible(cell)):
        yield problem
        return
    if cell.status == "done" and set(cell.artifacts) != set(STAGES):
        yield f"artifacts: a finished cell has {', '.join(STAGES)}"
        return
    manifests = {stage: measurement(cell, stage, list(of_artifact.values())) for stage, of_artifact in found.items()}
    if problem := _record(cell, manifests):
        yield problem
    yield from chain(cell, manifests)
    yield from _described(cell, manifests)
    yield from (problem for problem, of_a_commit in differences(cell, manifests, registered) if not of_a_commit)


def _described(cell: CellResult, manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """Descriptions of components that are not what their stages recorded."""
    if "poison" in manifests:
        told, recorded = cell.attack.extra.get("budget"), manifests["poison"].payload.get("budget")
        if told != recorded:
            yield f"attack.extra.budget: {short(told)}, the manifests have {short(recorded)}"
    if "train" in manifests and not cell.defense.extra.get("changes_recipe"):
        told, recorded = cell.victim.extra.get("recipe", {}), manifests["train"].payload.get("recipe")
        if told != recorded:
            yield "victim.extra.recipe: is not payload.recipe of the manifest"


def measurement(cell: CellResult, stage: str, manifests: Sequence[Manifest]) -> Manifest:
    """The manifest that a cell's record is of: after a merge, an artifact may have been measured several times."""
    return next((one for one in manifests if one.cost == cell.costs.get(stage)), manifests[0])


def _record(cell: CellResult, manifests: Mapping[str, Manifest]) -> str:
    """The first field of a cell that is not what a run records from these manifests."""
    try:
        expected = measured(manifests)
        if cell.status == "done":
            command = {"command": cell.provenance.get("command")}
            expected |= judged(manifests["train"]) | {"provenance": manifests["train"].environment | command}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return f"artifacts: a manifest lacks {error!s}"
    for name, value in expected.items():
        found = getattr(cell, name)
        if found == value:
            continue
        if isinstance(found, Mapping) and isinstance(value, Mapping):
            inner = next((key for key in (*value, *found) if found.get(key) != value.get(key)), "")
            return f"{name}.{inner}: is not what the manifests have"
        return f"{name}: {short(found)}, the manifests have {short(value)}"
    return ""


def _of_manifest(manifest: Manifest, stage: str, key: str) -> Iterator[str]:
    preimage = manifest.preimage
    expected = {"schema_version": SCHEMA_VERSION, "schema_epoch": SCHEMA_EPOCH, "stage": stage}
    for name, value in expected.items():
        if preimage.get(name) != value:
            yield f"preimage.{name}: {short(preimage.get(name))}, this release has {short(value)} there"
    if manifest.key != key or manifest.stage != stage:
        yield f"key: {manifest.stage!a} {manifest.key[:12]!a} is not that of the folder"
    if manifest.key != digest(preimage):
        yield f"key: {manifest.key[:12]!a}... does not follow from preimage, whose key is {digest(preimage)[:12]}..."
    if manifest.environment.get("precision") != preimage.get("precision"):
        yield "environment.precision: is not that of preimage"
    if manifest.data_bytes < 0:
        yield f"data_bytes: {manifest.data_bytes}"
    cost = manifest.cost
    device, *engine = (manifest.environment.get(name) for name in ("device", "precision", "deterministic"))
    words = cost.device.removeprefix(f"{device}, ").split(", ")
    if words == cost.device.split(", ") or engine != [words[0], "deterministic" in words]:
        yield f"cost.device: {short(cost.device)} is not device, precision and determinism of environment"
    yield from (f"cost.{problem}" for problem in cost_problems(cost))
    for name, seconds in cost.phases.items():
        if name != "warm" and seconds > 1.01 * cost.wall_seconds + 0.001:
            yield f"cost.phases.{name!s}: {seconds} s, the whole stage took {cost.wall_seconds} s"
    if stage == "train":
        if cost.phases.get("train", 0.0) <= 0:
            yield "cost.phases.train: a training takes time"
        recipe, curve = manifest.payload.get("recipe"), manifest.payload.get("curve")
        if not isinstance(recipe, Mapping) or not isinstance(curve, list) or recipe.get("epochs", 0) != len(curve):
            yield "payload.recipe.epochs: is not the number of points of payload.curve"
        count = manifest.payload.get("test_images")
        if not isinstance(count, int) or manifest.data_bytes != bytes_of_predictions(count):
            yield f"data_bytes: {manifest.data_bytes} is not that of payload.test_images ({short(count)}) predictions"
    try:
        datetime.fromisoformat(cost.created)
    except ValueError:
        yield f"cost.created: {cost.created[:40]!a} is no time"
