"""From a matrix to cells and the graph of jobs they need: each job once, whatever cells share it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.datasets.splits import Splits
from bench.errors import UserError
from bench.plan.keys import cell_key, cell_preimage, poison_job, purify_job, train_job
from bench.plan.obstacles import find_obstacles, find_unreadable
from bench.select.matrix import Matrix
from bench.select.spec import Selected, digest
from bench.stages.jobs import STAGES, Job
from bench.stages.session import Session
from bench.store.artifacts import State, Store


@dataclass(frozen=True)
class PlannedCell:
    """One cell and the jobs it waits for.

    Attributes:
        preimage: its coordinates, of which the key is the digest.
        jobs: stage -> key of the job.
    """

    preimage: list[Any]
    attack: Selected
    defense: Selected
    victim: Selected
    seed: int
    jobs: dict[str, str]

    @functools.cached_property
    def key(self) -> str:
        """Of the cell's file."""
        return cell_key(self.preimage)


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

    def pending(self) -> list[Job]:
        """The jobs that have to run, in the order of `jobs`: those of a stage before those of the next."""
        return [job for key, job in self.jobs.items() if self.states[key] != "valid"]


def make_plan(matrix: Matrix, splits: Splits, store: Store, session: Session, skip_impossible: bool = False) -> Plan:
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
    unreadable = find_unreadable(matrix.attacks)
    jobs: dict[str, Job] = {}
    cells = []
    for seed in matrix.seeds:
        for attack in matrix.attacks:
            if f"attack {attack.full_text}" in unreadable:
                for pair in itertools.product(matrix.defenses, matrix.victims):
                    preimage = cell_preimage(session, matrix.preset, (attack, *pair), seed)
                    cells.append(PlannedCell(preimage, attack, *pair, seed, {}))
                continue
            poison = poison_job(session, attack, seed)
            for defense in matrix.defenses:
                purify = purify_job(session, defense, seed, poison)
                for victim in matrix.victims:
                    train = train_job(session, victim, defense, seed, poison, purify)
                    jobs |= {job.key: job for job in (poison, purify, train)}
                    chosen = (attack, defense, victim)
                    keys = {job.stage: job.key for job in (poison, purify, train)}
                    preimage = cell_preimage(session, matrix.preset, chosen, seed)
                    cells.append(PlannedCell(preimage, *chosen, seed, keys))
    ordered = {job.key: job for stage in STAGES for job in jobs.values() if job.stage == stage}
    states = {job.key: store.state(job.stage, job.key) for job in ordered.values()}
    pending = {cell.attack.full_text for cell in cells if cell.jobs and states[cell.jobs["poison"]] != "valid"}
    obstacles = unreadable | find_obstacles(matrix, splits, pending, session.elsewhere)
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
