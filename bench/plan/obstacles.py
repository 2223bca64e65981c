"""Parts of a matrix that cannot work on its data set: found before the first second of work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from typing import Any

import torch

from bench.api import ChecksFit, FitsOnce, ImageSet
from bench.datasets.splits import Splits
from bench.errors import ContractError, MachineError, UserError, of_component, of_the_machine
from bench.select.matrix import Matrix
from bench.select.spec import Selected
from bench.stages.clean_images import check_clean_images
from bench.stages.crafting import candidates, check_fit
from bench.stages.fit_once import check_pair, check_victim
from bench.stages.network import check_network
from bench.stages.train import changed_recipe
from bench.training.crops import check_squeezed


def find_unreadable(attacks: Iterable[Selected]) -> dict[str, str]:
    """The attacks whose files cannot be read and have no keys, by `attack full_text`, with the reason."""
    found: dict[str, str] = {}
    for attack in attacks:
        try:
            for one in attack.acting:
                _ = one.content
        except (OSError, ValueError, UserError) as error:
            why = of_component(f"attack {attack.text!r}", attack.entry.name, of_the_machine(error) or error)
            found[f"attack {attack.full_text}"] = why
    return found


def find_obstacles(matrix: Matrix, splits: Splits, pending: Container[str], elsewhere: bool = False) -> dict[str, str]:
    """Every component that cannot work, with the reason.

    Args:
        matrix: its attacks, defenses and victims are tried.
        splits: of its data set.
        pending: full texts of the attacks whose poison has to be crafted; the files of others need not be there.
        elsewhere: jobs run on other machines, so that too little memory of this one is no obstacle.

    Returns:
        `kind full_text` of the component, or `defense full_text victim full_text` of two that do not go together ->
        what is wrong and what to do.
    """
    checks: list[tuple[str, Selected, Callable[[Any, Splits], object]]] = []
    for attack in matrix.attacks:
        checks.append(("attack", attack, _choose_images))
        if attack.full_text in pending:
            checks.append(("attack", attack, _fit))
    checks += [("defense", defense, _fit_unseen) for defense in matrix.defenses]
    checks += [("victim", victim, _try_out) for victim in matrix.victims]
    found: dict[str, str] = {}
    for kind, selected, check in checks:
        try:
            check(selected.component, splits)
        except (ContractError, ValueError, UserError) as error:
            if elsewhere and isinstance(error, MachineError):
                continue
            why = of_component(f"{kind} {selected.text!r}", selected.entry.name, error)
            found.setdefault(f"{kind} {selected.full_text}", why)
        except Exception:  # a fault of a plug-in: its stage meets it again, and records a failed cell
            continue
    for defense, victim in itertools.product(matrix.defenses, matrix.victims):
        try:
            if isinstance(victim.component, FitsOnce):
                check_pair(defense.component, victim.component)
                continue
            recipe = changed_recipe(defense.component, victim.component.recipe)
            check_squeezed(splits.train.aspect_ratios, recipe.random_resized_crop)
            check_clean_images(recipe, splits, defense.entry.uses)
        except (ContractError, ValueError, UserError) as error:
            if f"victim {victim.full_text}" not in found:
                name = f"defense {defense.full_text} victim {victim.full_text}"
                found[name] = f"defense {defense.text!r} with victim {victim.text!r}: {error}"
        except Exception:  # the same
            continue
    return found


def _choose_images(attack: Any, splits: Splits) -> None:
    candidates(attack, splits.train)


def _fit(attack: Any, splits: Splits) -> None:
    check_fit(attack, splits.train)


def _fit_unseen(defense: Any, splits: Splits) -> None:
    if isinstance(defense, ChecksFit):
        defense.check_fit(blank(splits.train))


def blank(train: ImageSet) -> ImageSet:
    """The same set with black images, which take no memory: no clock runs here, so there is nothing to learn from."""
    black = torch.zeros((), dtype=torch.uint8)
    return replace(train, images=black.expand(train.images.shape))


def _try_out(victim: Any, splits: Splits) -> None:
    if isinstance(victim, FitsOnce):
        check_victim(victim, blank(splits.train))
        return
    network = victim.build(splits.train.info)
    check_squeezed(splits.train.aspect_ratios, victim.recipe.random_resized_crop)
    try:
        check_network(network, splits.train.info, torch.device("cpu"))
    except (ContractError, KeyboardInterrupt):
        raise
    except BaseException:  # of the network itself, which may need its device: its stage meets it again
        return
