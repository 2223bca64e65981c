"""Phases of a stage in words: one table for the pages. The files keep the names of the code."""

from __future__ import annotations

PHASES = {
    "warm": "rehearsal, not charged",
    "read": "reading the poison file",
    "check": "checking the poison file",
    "features": "making features",
    "search": "searching the pixels",
    "surrogate": "training the surrogate",
    "change_recipe": "making the recipe",
    "fit": "training the method's own network",
    "judge": "judging the caps",
    "train": "training",
    "noise": "making the noise",
    "craft": "making the perturbation",
    "evaluate": "evaluation, not charged",
    "perturb": "adding the perturbation",
    "write": "writing the pixels",
    "blur": "blurring the images",
    "apply": "changing the images",
    "report": "describing the poison",
    "view": "view of the test images",
}
"""In the order in which they begin."""


def phase_in_words(name: str) -> str:
    """A phase for readers: `change_recipe` gives `making the recipe`.

    That of a chain's part, `em.noise`, gives `making the noise (em)`. The name of a plug-in's own phase stays, with
    spaces for underscores.
    """
    part, _, phase = name.rpartition(".")
    words = PHASES.get(phase, phase.replace("_", " "))
    return f"{words} ({part})" if part else words


def when(name: str) -> tuple[str, int]:
    """Sort key of a phase: by part, then as they begin; a plug-in's own stand last."""
    part, _, phase = name.rpartition(".")
    return part, list(PHASES).index(phase) if phase in PHASES else len(PHASES)
