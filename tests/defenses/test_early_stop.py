"""Early stopping: a shorter recipe, the whole schedule in it, and no look at any data."""

import pytest

from bench.api import Recipe
from bench.errors import UserError
from bench.plan.describe import faces
from bench.registry import defenses
from bench.select.spec import select
from bench.training import lr_factor
from defenses.early_stop import EarlyStop


@pytest.mark.parametrize("schedule", ["cosine-epoch", "cosine", "one-cycle", "multistep"])
def test_the_whole_schedule_is_run_through(schedule):
    recipe = Recipe(epochs=60, schedule=schedule, milestones=(30, 45), warmup_epochs=6.0)
    short = EarlyStop(epochs=10).change_recipe(recipe)
    assert (short.epochs, short.milestones, short.warmup_epochs) == (10, (5, 8), pytest.approx(1.0))
    for share in (0.05, 0.3, 0.65, 0.9):
        long = lr_factor(recipe, round(share * 60) * 100, 100)
        assert lr_factor(short, round(share * 60) * 100, 600) == pytest.approx(long, abs=0.11)


def test_a_short_victim_stays_as_it_is():
    assert EarlyStop(epochs=10).change_recipe(Recipe(epochs=6)) == Recipe(epochs=6)


def test_it_does_nothing_else():
    assert {face for face, there in faces(EarlyStop()).items() if there} == {"changes_recipe", "trains_differently"}
    with pytest.raises(UserError, match="epochs must be at least 1, got 0"):
        select(defenses, "early-stop:epochs=0")
