"""Contracts of plug-ins, as functions; `bench check` runs them, and the test suite does on the whole registry.

Each check takes the component and raises ContractError with what was wrong. A contract says to which components its
check applies: the others have nothing that could break it, and it is neither run nor counted for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.api import ChangesRecipe, FitsOnce, Purifies, StacksOn, TrainsDifferently
from bench.check.contracts import defenses, images, losses, victims
from bench.check.contracts.demands import Check
from bench.plan.describe import faces
from bench.select.spec import Selected


@dataclass(frozen=True)
class Contract:
    """A check, and which components it is about.

    Attributes:
        check: raises ContractError with what was wrong.
        applies: whether a component has what the check is about.
    """

    check: Check
    applies: Callable[[Selected], bool] = lambda selected: True

    @property
    def name(self) -> str:
        """Of the check: what is promised."""
        return self.check.__name__


def _has_result(selected: Selected) -> bool:
    """True if it makes images of images: every attack, and a defense that purifies."""
    return isinstance(selected.component, Purifies) or hasattr(selected.component, "budget")


def _has_result_without_seed(selected: Selected) -> bool:
    return _has_result(selected) and selected.entry.deterministic


def _has_a_norm(selected: Selected) -> bool:
    return bool(selected.component.budget.norm != "none")


def _is_replayable(selected: Selected) -> bool:
    return getattr(selected.component, "replayable", False) is True


def _is_trained(selected: Selected) -> bool:
    return not isinstance(selected.component, FitsOnce)


def _has(face: type) -> Callable[[Selected], bool]:
    return lambda selected: isinstance(selected.component, face)


_OF_RESULTS = (
    Contract(images.keeps_shape_and_labels, _has_result),
    Contract(images.leaves_its_input_alone, _has_result),
    Contract(images.repeats_with_the_same_seed, _has_result),
    Contract(images.ignores_its_seed_if_deterministic, _has_result_without_seed),
    Contract(images.takes_other_class_counts, _has_result),
    Contract(images.works_in_bfloat16, _has_result),
)


CONTRACTS: dict[str, tuple[Contract, ...]] = {
    "attacks": (
        *_OF_RESULTS,
        Contract(images.respects_its_budget, _has_a_norm),
        Contract(images.stacks_as_it_poisons, _has(StacksOn)),
    ),
    "defenses": (
        Contract(defenses.keeps_nothing_between_stages),  # first: it must see the first run of this process
        *_OF_RESULTS,
        Contract(defenses.view_is_a_view, lambda selected: faces(selected.component)["sees_test_images"]),
        Contract(losses.batch_loss_is_a_loss, _has(TrainsDifferently)),
        Contract(losses.batch_loss_is_the_same_in_bfloat16, _has(TrainsDifferently)),
        Contract(losses.batch_loss_leaves_the_model_as_it_was, _has(TrainsDifferently)),
        Contract(losses.batch_loss_repeats_with_the_same_seed, _has(TrainsDifferently)),
        Contract(losses.batch_loss_draws_anew_at_every_batch, _has(TrainsDifferently)),
        Contract(losses.batch_loss_is_the_same_operations_if_replayable, _is_replayable),
        Contract(defenses.changed_recipe_is_a_recipe, _has(ChangesRecipe)),
    ),
    "victims": (
        Contract(victims.builds_a_classifier, _is_trained),
        Contract(victims.trains, _is_trained),
        Contract(victims.trains_in_bfloat16, _is_trained),
        Contract(victims.fits_a_classifier, _has(FitsOnce)),
        Contract(victims.fits_the_same_with_the_same_seed, _has(FitsOnce)),
        Contract(victims.fits_in_bfloat16, _has(FitsOnce)),
    ),
}


def checks_of(kind: str, selected: Selected) -> list[Check]:
    """The checks that apply to a component of this kind (`defenses`, ...)."""
    return [contract.check for contract in CONTRACTS[kind] if contract.applies(selected)]
