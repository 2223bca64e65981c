"""Jobs and their keys: the digest of everything that a result depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.plan.describe import faces
from bench.registry.source import source_digest
from bench.select.chain import part_of
from bench.select.identity import identity
from bench.select.spec import Selected, digest
from bench.stages.clean_images import DECLARED
from bench.stages.jobs import Job
from bench.stages.session import Session
from bench.store.results import SCHEMA_VERSION

# Raised by hand when a change of the core (not of a component's own source) changes results.
SCHEMA_EPOCH = 5


def poison_job(session: Session, attack: Selected, seed: int) -> Job:
    """The attack on the training images."""
    return _job(session, "poison", attack, seed, {}, dataset=session.digests[0])


def purify_job(session: Session, defense: Selected, seed: int, poison: Job) -> Job:
    """The purification of a poison."""
    return _job(session, "purify", defense, seed, {"poison": poison.key})


def train_job(session: Session, victim: Selected, defense: Selected, seed: int, poison: Job, purify: Job) -> Job:
    """The victim's training; the defense is part of it only if it acts during training or on test images."""
    acts = any(acts for face, acts in faces(defense.component).items() if face != "purifies")
    extra = {
        "test": session.digests[1],
        "training": source_digest("bench.training"),
        "defense": identity(defense) if acts else None,
        **({"clean": list(session.digests[2:])} if acts and DECLARED in defense.entry.uses else {}),
    }
    job = _job(session, "train", victim, seed, {"purify": purify.key}, **extra)
    return replace(job, inputs={"poison": poison.key, "purify": purify.key}, defense=defense.full_text if acts else "")


def cell_preimage(session: Session, preset: str, chosen: Sequence[Selected], seed: int) -> list[Any]:
    """A cell's coordinates in the matrix, of which its key is the digest; source is none of them.

    So a result of newer source replaces the older one. Precision is one: a result in float32 does not replace the one
    in bfloat16.
    """
    components = (selected.full_text for selected in chosen)
    return [preset, session.engine.precision, list(session.digests), *components, seed]


def cell_key(preimage: Sequence[Any]) -> str:
    """The key of a cell with these coordinates."""
    return digest(list(preimage))[:20]


def _job(session: Session, stage: str, selected: Selected, seed: int, inputs: dict[str, str], **extra: Any) -> Job:
    preimage = {
        "schema_version": SCHEMA_VERSION,
        "schema_epoch": SCHEMA_EPOCH,
        "stage": stage,
        "component": identity(selected),
        "seed": seed if _uses_seed(selected) else None,
        "precision": session.engine.precision,
        "inputs": inputs,
        **extra,
    }
    return Job(stage, digest(preimage), preimage, selected.full_text, "", seed, inputs)


def _uses_seed(selected: Selected) -> bool:
    """A deterministic attack still depends on the seed if the harness draws which images it poisons.

    A choice of classes draws nothing. Of a chain's images the first part draws for all.
    """
    return not selected.entry.deterministic or part_of(selected.component).poison_rate < 1
