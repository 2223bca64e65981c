"""From an attack to a poisoned set: draws the images to be poisoned, applies a chain's parts, restores the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.api import ChecksFit, Context, HoldsPart, ImageSet, StacksOn, map_images
from bench.api.part_context import part_of_chain, pass_on
from bench.datasets.subsets import stratified_rows
from bench.select.chain import Chain, part_of
from bench.stages.invariants import check_budget, check_same_kind


def craft(attack: Any, clean: ImageSet, ctx: Context) -> tuple[ImageSet, Tensor]:
    """The poisoned set and the bool (N,) mask of the images offered to the attack.

    Args:
        attack: an attack or a `Chain` of several.
        clean: not modified.
        ctx: of the stage; the parts of a chain get one each, with the scope, and so the seeds, they have alone.

    Raises:
        ContractError: if the result is not of the kind of `clean`, or a part of a chain exceeds its own budget.
        ValueError: see `candidates`.
    """
    if isinstance(attack, Chain):
        return _craft_chain(attack, clean, ctx)
    rows = rows_to_poison(attack, clean, ctx)
    return _applied(attack, clean, clean, rows, ctx), _mask(rows, clean)


def check_fit(attack: Any, clean: ImageSet) -> None:
    """Asks the attack, or each part of a chain, if it can work on these images.

    Raises:
        ValueError: or UserError, by an attack that cannot; MachineError, if it could on a larger machine.
    """
    for part in [part for _, part in attack.parts] if isinstance(attack, Chain) else [attack]:
        if isinstance(part, ChecksFit):
            part.check_fit(clean)


def rows_to_poison(attack: Any, clean: ImageSet, ctx: Context) -> Tensor | None:
    """Positions, ascending, of the images to be poisoned; None for all of them, which draws nothing."""
    part = part_of(attack)
    rows, count = candidates(attack, clean)
    if count == len(clean):
        return None
    if part.poison_rate == 1.0:
        return rows
    generator = ctx.generator("poison-set")
    if part.stratified:
        return rows[stratified_rows(clean.labels[rows], count, generator)]
    return rows[torch.randperm(len(rows), generator=generator)[:count].sort().values]


def candidates(attack: Any, clean: ImageSet) -> tuple[Tensor, int]:
    """Positions of the images among which those to be poisoned are drawn, and how many are.

    Raises:
        ValueError: if a class does not exist or has no image, or the rate comes to no image.
        UserError: if the attack cannot read which images it holds.
    """
    part = part_of(attack)
    chosen = torch.tensor(part.chosen_classes(clean.info.num_classes))
    if part.classes and (absent := chosen[~torch.isin(chosen, clean.labels)].tolist()):
        raise ValueError(f"classes={part.classes}: the training set has no image of class {absent}")
    rows = torch.isin(clean.labels, chosen).nonzero().flatten()
    held = part.held_rows(clean) if isinstance(part, HoldsPart) else None
    if held is not None:
        rows = rows[torch.isin(rows, held)]
    count = int(part.poison_rate * len(rows) + 1e-9)
    if count == 0:
        raise ValueError(
            f"poison_rate {part.poison_rate} of {len(rows)} images is no image; raise it or change classes"
        )
    return rows, count


def _mask(rows: Tensor | None, clean: ImageSet) -> Tensor:
    mask = torch.full((len(clean),), rows is None)
    if rows is not None:
        mask[rows] = True
    return mask


def _applied(attack: Any, clean: ImageSet, given: ImageSet, rows: Tensor | None, ctx: Context) -> ImageSet:
    """`given` (the clean images, or those of earlier attacks) with the images of these rows poisoned."""
    if rows is None:
        return _poisoned(attack, clean, given, ctx)
    if part_of(attack).craft_on == "all":
        crafted = _poisoned(attack, clean, given, ctx).images[rows]
    else:
        part = clean.take(rows)
        crafted = _poisoned(attack, part, part if given is clean else given.take(rows), ctx).images
    images = ctx.empty_images(tuple(given.images.shape))
    images.copy_(given.images)
    images[rows] = crafted
    return replace(given, images=images)


def _poisoned(attack: Any, clean: ImageSet, given: ImageSet, ctx: Context) -> ImageSet:
    if given is clean:
        result = attack.poison(clean, ctx)
    else:
        result = attack.poison_onto(clean, given, ctx)
    check_same_kind(f"attack {ctx.scope!r}", result, clean)
    poisoned: ImageSet = result
    return poisoned


def _craft_chain(chain: Chain, clean: ImageSet, ctx: Context) -> tuple[ImageSet, Tensor]:
    contexts = {name: part_of_chain(name, ctx) for name, _ in chain.parts}
    name, first = chain.parts[0]
    rows = rows_to_poison(first, clean, contexts[name])
    mask = _mask(rows, clean)
    below = clean
    for name, attack in chain.parts:
        given = below if isinstance(attack, StacksOn) else clean
        crafted = _applied(attack, clean, given, rows, contexts[name])
        pass_on(name, contexts[name], ctx)  # before the check: values of `log_later` are computed here
        check_budget(name, attack.budget, crafted, given, mask)
        below = crafted if given is below else _added(crafted, clean, below, ctx)
    return below, mask


def _added(crafted: ImageSet, clean: ImageSet, below: ImageSet, ctx: Context) -> ImageSet:
    """`below` plus what `crafted` adds to `clean`, clipped to 8 bits."""

    def add(images_u8: Tensor, rows: slice) -> Tensor:
        delta = crafted.images[rows].to(torch.int16) - clean.images[rows].to(torch.int16)
        return (images_u8.to(torch.int16) + delta).clamp(0, 255).to(torch.uint8)

    return map_images(below, add, ctx)
