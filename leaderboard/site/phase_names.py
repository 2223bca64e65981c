"""Phases of a stage in words: one table for the pages. The files keep the names of the code."""

from __future__ import annotations

PHASES = {
    "warm": "rehearsal, not charged",
    "read": "reading the poison file",
    "check": "checking the poison file",
    "features": "making features",
    "search": "searching the pixels",
    "surrogate": "training the surrogate",
    "noise": "making the noise",
    "craft": "making the perturbation",
    "perturb": "adding the perturbation",
    "write": "writing the pixels",
    "report": "describing the poison",
    "fit": "training the method's own network",
    "apply": "changing the images",
    "change_recipe": "making the recipe",
    "train": "training",
    "evaluate": "evaluation, not charged",
    "view": "view of the test images",
}


def phase_in_words(name: str) -> str:
    """A phase for readers: `change_recipe` gives `making the recipe`.

    That of a chain's part, `em.noise`, gives `making the noise (em)`. The name of a plug-in's own phase stays, with
    spaces for underscores.
    """
    part, _, phase = name.rpartition(".")
    words = PHASES.get(phase, phase.replace("_", " "))
    return f"{words} ({part})" if part else words
