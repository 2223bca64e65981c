"""Knowledge of a defense beyond the poisoned training set: the words of `uses`, with their explanation for readers."""

from __future__ import annotations

USES = {
    "clean-data": "Clean images of the same kind, which are not the originals of the poisoned ones.",
    "clean-originals": "The clean originals of the poisoned images, or a model that was trained on them. Who has these "
    "needs no defense; it shows what is possible at best, and has no rank.",
    "labels": "Labels besides those of the poisoned set, for example to choose a parameter by accuracy.",
    "paired-data": "Pairs of clean images and their poisoned versions, made by the same attack. No rank, for the same "
    "reason.",
    "pretrained-weights": "A network that was trained on other data.",
    "test-set": "Images of the test set. Accuracy on the same images says less than for other defenses: no rank.",
}
_OTHER = "Knowledge beyond the poisoned set, in the words of the defense."


def explained(use: str) -> str:
    """Meaning of a word of `uses`; of a word of a plug-in's own, that it is one."""
    return USES.get(use, _OTHER)
