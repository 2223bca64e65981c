"""Components in words: the faces of a defense, the entry in a cell's file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.api import ChangesRecipe, Defense, Purifies, SeesTestImages, TrainsDifferently
from bench.registry import attacks
from bench.select.spec import Selected, plain
from bench.store.results import Component


def describe(selected: Selected) -> Component:
    """A component as a cell's file describes it."""
    entry, component = selected.entry, selected.component
    extra: dict[str, Any] = {}
    if hasattr(component, "budget"):
        extra["budget"] = str(component.budget)
        if traits := attacks.traits(selected.name):
            extra["traits"] = list(traits.words)
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


def faces(defense: Any) -> dict[str, bool]:
    """Faces of a defense; one that changes the recipe also pays for the additional training."""
    changes_recipe = isinstance(defense, ChangesRecipe)
    return {
        "purifies": isinstance(defense, Purifies),
        "trains_differently": changes_recipe or isinstance(defense, TrainsDifferently),
        "changes_recipe": changes_recipe,
        "sees_test_images": isinstance(defense, SeesTestImages) and bool(getattr(defense, "test_view", True)),
    }
