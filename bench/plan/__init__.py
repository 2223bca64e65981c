"""From a matrix to cells and the jobs they need: three waves of jobs, each job once, whatever cells share it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from bench.api import ChangesRecipe, Defense, Purifies, SeesTestImages, TrainsDifferently
from bench.datasets.loading import Splits
from bench.errors import UserError
from bench.plan.obstacles import find_obstacles
from bench.registry.source import source_digest
from bench.select.chain import part_of
from bench.select.config import Matrix
from bench.select.spec import Selected, digest, plain
from bench.stages.jobs import STAGES, Job
from bench.stages.session import Session
from bench.store.artifacts import DamagedArtifactError, State, Store
from bench.store.results import SCHEMA_VERSION, Component, Manifest

# Raised by hand when a change of the core (not of a component's own source) changes results.
SCHEMA_EPOCH = 5


@dataclass(frozen=True)
class PlannedCell:
    """One cell and the jobs it waits for.

    Attributes:
        key: of the cell's file.
        jobs: stage -> key of the job.
    """

    key: str
    attack: Selected
    defense: Selected
    victim: Selected
    seed: int
    jobs: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """Cells and jobs of a matrix.

    Attributes:
        session: of the run.
        matrix: what was asked for.
        cells: in the order of the matrix.
        jobs: by key; every job once.
        states: by key: `valid` artifacts need no work, `damaged` ones are made again.
        dataset: what the cells say about the data set.
        skipped: cells that are impossible on this data set, which have no jobs, with the reason.
    """

    session: Session
    matrix: Matrix
    cells: list[PlannedCell]
    jobs: dict[str, Job]
    states: dict[str, State]
    dataset: dict[str, Any]
    skipped: list[tuple[PlannedCell, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the note in the store that says what it wants: the same jobs, the same name."""
        return digest(sorted(self.jobs))[:20]

    def pending(self, stage: str) -> list[Job]:
        """The jobs of a wave that have to run."""
        return [job for key, job in self.jobs.items() if job.stage == stage and self.states[key] != "valid"]


def make_plan(
    matrix: Matrix,
    splits: Splits,
    store: Store,
    session: Session,
    skip_impossible: bool = False,
) -> Plan:
    """Cells and jobs of a matrix, with what the store already has (every artifact's checksum is verified).

    Args:
        matrix: what is to be compared.
        splits: of its data set.
        store: the session's, opened.
        session: of the run.
        skip_impossible: leave out cells whose attack, defense or victim cannot work on this data set.

    Raises:
        UserError: what cannot work on this data set, all at once (unless it is to be skipped and something is left).
    """
    info = splits.train.info
    dataset = {
        "spec": matrix.dataset,
        "name": info.name,
        "digest": digest(list(splits.digests)),
        "train_images": len(splits.train),
        "test_images": len(splits.test),
        "num_classes": info.num_classes,
        "shape": list(info.shape),
        "notes": list(splits.notes),
    }
    jobs: dict[str, Job] = {}
    cells = []
    for seed in matrix.seeds:
        for attack in matrix.attacks:
            poison = _job(session, "poison", attack, seed, {}, {"dataset": splits.digests[0]})
            for defense in matrix.defenses:
                purify = _job(session, "purify", defense, seed, {"poison": poison.key})
                for victim in matrix.victims:
                    train = _train_job(session, victim, defense, seed, {"poison": poison.key, "purify": purify.key})
                    jobs |= {job.key: job for job in (poison, purify, train)}
                    cells.append(
                        _cell(session, matrix.preset, (attack, defense, victim), seed, [poison, purify, train])
                    )
    ordered = {job.key: job for stage in STAGES for job in jobs.values() if job.stage == stage}
    states = {job.key: store.state(job.stage, job.key) for job in ordered.values()}
    pending = {cell.attack.full_text for cell in cells if states[cell.jobs["poison"]] != "valid"}
    obstacles = find_obstacles(matrix, splits, pending)
    if obstacles and not skip_impossible:
        raise UserError("\n".join([*obstacles.values(), "--skip-impossible runs the rest of the matrix"]))
    skipped = [(replace(cell, jobs={}), reason) for cell in cells if (reason := _obstacle(cell, obstacles))]
    cells = [cell for cell in cells if not _obstacle(cell, obstacles)]
    if not cells:
        raise UserError("\n".join([*obstacles.values(), "nothing of the matrix is left"]))
    wanted = {key for cell in cells for key in cell.jobs.values()}
    ordered = {key: job for key, job in ordered.items() if key in wanted}
    return Plan(session, matrix, cells, ordered, {key: states[key] for key in ordered}, dataset, skipped)


def _obstacle(cell: PlannedCell, obstacles: Mapping[str, str]) -> str:
    """Reason why a cell is impossible, or ""."""
    attack, defense, victim = (f"{kind} {getattr(cell, kind).full_text}" for kind in ("attack", "defense", "victim"))
    names = (attack, defense, victim, f"{defense} {victim}")
    return "; ".join(obstacles[name] for name in names if name in obstacles)


def _job(
    session: Session,
    stage: str,
    selected: Selected,
    seed: int,
    inputs: dict[str, str],
    extra: dict[str, Any] | None = None,
) -> Job:
    preimage = {
        "schema_version": SCHEMA_VERSION,
        "schema_epoch": SCHEMA_EPOCH,
        "stage": stage,
        "component": identity(selected),
        "seed": seed if _uses_seed(selected) else None,
        "precision": session.engine.precision,
        "inputs": inputs,
        **(extra or {}),
    }
    return Job(stage, digest(preimage), preimage, selected.full_text, "", seed, inputs)


def _uses_seed(selected: Selected) -> bool:
    """A deterministic attack still depends on the seed if the harness draws which images it poisons.

    A choice of classes draws nothing. Of a chain's images the first part draws for all.
    """
    return not selected.entry.deterministic or part_of(selected.component).poison_rate < 1


def _train_job(session: Session, victim: Selected, defense: Selected, seed: int, inputs: dict[str, str]) -> Job:
    """The victim's training; the defense is part of it only if it acts during training or on test images."""
    acts = any(acts for face, acts in faces(defense.component).items() if face != "purifies")
    extra = {
        "test": session.digests[1],
        "training": source_digest("bench.training"),
        "defense": identity(defense) if acts else None,
    }
    job = _job(session, "train", victim, seed, {"purify": inputs["purify"]}, extra)
    return replace(job, inputs=inputs, defense=defense.full_text if acts else "")


def identity(selected: Selected) -> dict[str, Any]:
    """Facts that decide the result of a component, or of a chain's parts: name, parameters, source, files it reads."""
    if selected.parts:
        parts = [identity(part) for part in selected.parts]
        return {"name": selected.entry.name, "parameters": selected.parameters, "parts": parts}
    return {
        "name": selected.entry.name,
        "parameters": selected.parameters,
        "source": source_digest(selected.entry.cls.__module__),
        "content": selected.content,
    }


def faces(defense: Any) -> dict[str, bool]:
    """Faces of a defense; one that changes the recipe also pays for the additional training."""
    changes_recipe = isinstance(defense, ChangesRecipe)
    return {
        "purifies": isinstance(defense, Purifies),
        "trains_differently": changes_recipe or isinstance(defense, TrainsDifferently),
        "changes_recipe": changes_recipe,
        "sees_test_images": isinstance(defense, SeesTestImages) and bool(getattr(defense, "test_view", True)),
    }


def _cell(
    session: Session, preset: str, chosen: tuple[Selected, Selected, Selected], seed: int, jobs: list[Job]
) -> PlannedCell:
    """A cell's key is its place in the matrix, so that a result of newer source replaces the older one.

    Precision is part of the place: a result in float32 stands next to that in bfloat16 and does not replace it.
    """
    place = [
        preset,
        session.engine.precision,
        list(session.digests),
        *(selected.full_text for selected in chosen),
        seed,
    ]
    return PlannedCell(digest(place)[:20], *chosen, seed, {job.stage: job.key for job in jobs})


def describe(selected: Selected) -> Component:
    """A component as it stands in a cell's file."""
    entry, component = selected.entry, selected.component
    extra: dict[str, Any] = {}
    if hasattr(component, "budget"):
        extra["budget"] = str(component.budget)
    if hasattr(component, "recipe"):
        extra["recipe"] = {name: plain(value) for name, value in asdict(component.recipe).items()}
    if isinstance(component, Defense):
        extra |= faces(component)
    return Component(
        name=selected.name,
        text=selected.text,
        parameters=selected.parameters,
        source=entry.source,
        family=entry.family,
        uses=list(entry.uses),
        extra=extra,
    )


class History:
    """Seconds that stages took before, from the manifests of a store: the only basis of an estimate."""

    def __init__(self, store: Store, session: Session) -> None:
        """Reads all manifests; times of another device or engine, or on other training images, are left out."""
        machine = session.machine
        manifests: dict[str, Manifest] = {}
        for stage, key in store.artifacts():
            with suppress(DamagedArtifactError):
                manifests[key] = store.manifest(stage, key)
        self._seconds: dict[tuple[str, str], list[float]] = {}
        for manifest in manifests.values():
            seconds = manifest.cost.wall_seconds + manifest.cost.phases.get("warm", 0.0)
            if manifest.cost.device == machine and _root(manifest, manifests) == session.digests[0]:
                for label in _labels(manifest.preimage):
                    self._seconds.setdefault((manifest.stage, label), []).append(seconds)

    def seconds(self, job: Job) -> float | None:
        """Median time of the same components with the same parameters, else of the same names; None if never run."""
        for label in _labels(job.preimage):
            if (job.stage, label) in self._seconds:
                return median(self._seconds[job.stage, label])
        return None


def _root(manifest: Manifest, manifests: Mapping[str, Manifest]) -> str | None:
    """Digest of the training images at the beginning of an artifact's stages; None if an artifact before it is gone."""
    before = [manifests.get(key) for key in manifest.preimage["inputs"].values()]
    if "dataset" in manifest.preimage:
        return str(manifest.preimage["dataset"])
    return _root(before[0], manifests) if before and before[0] is not None else None


def _labels(preimage: dict[str, Any]) -> tuple[str, str]:
    """Digest and names of what a job runs: the component, and the defense that acts on its training."""
    acting = [part for part in (preimage["component"], preimage.get("defense")) if part is not None]
    return digest([[part["name"], part["parameters"]] for part in acting]), "+".join(part["name"] for part in acting)
