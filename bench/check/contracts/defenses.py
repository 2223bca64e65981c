"""Checks of defenses besides their images and losses: kept state, the test-time view, the changed recipe."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.api import Recipe
from bench.check.contracts.demands import demand
from bench.check.kept_state import kept
from bench.datasets.splits import Splits
from bench.errors import ContractError
from bench.select.spec import Selected
from bench.stages.clean_images import check_declared
from bench.stages.invariants import check_same_kind
from bench.stages.train import changed_recipe


def keeps_nothing_between_stages(selected: Selected, tiny: Splits) -> None:
    """Every run pays for all it does: nothing that an earlier run computed is kept in modules, classes or files."""
    if found := kept(selected, tiny.train):
        raise ContractError(found)


def view_is_a_view(selected: Selected, tiny: Splits) -> None:
    """The test-time view keeps shape and type, does not depend on the batch and leaves its input alone."""
    images = tiny.test.images
    before = images.clone()
    viewed = selected.component.view(images)
    demand(torch.equal(images, before), "view modifies the test images in place")
    check_same_kind("view", replace(tiny.test, images=viewed), tiny.test)
    one_by_one = torch.cat([selected.component.view(images[i : i + 1]) for i in range(len(images))])
    demand(torch.equal(viewed, one_by_one), "view depends on the batch; it must see each image alone")


def changed_recipe_is_a_recipe(selected: Selected, tiny: Splits) -> None:
    """A defense that changes the recipe makes a Recipe of each, the same every time, with declared data alone."""
    for recipe in (Recipe(), Recipe(epochs=10, schedule="cosine", warmup_epochs=0.5), Recipe(schedule="one-cycle")):
        once, again = (changed_recipe(selected.component, recipe) for _ in range(2))
        check_declared(once, selected.entry.uses)
        demand(once == again, f"change_recipe gives {once} and then {again} for the same recipe")
