"""Clean images that a victim trains on besides the given ones: the data set keeps them, a defense asks for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from bench.api import Context, ImageSet, Recipe
from bench.datasets.splits import Splits
from bench.datasets.subsets import stratified_rows
from bench.errors import ContractError, UserError

DECLARED = "clean-data"


def check_clean_images(recipe: Recipe, splits: Splits, uses: Collection[str]) -> None:
    """Checks that a training can have the clean images of its recipe.

    Args:
        recipe: of the training, as the defense changed it.
        splits: of the data set.
        uses: what the defense declares.

    Raises:
        ContractError: if the defense does not declare them.
        UserError: if the data set keeps too few.
    """
    check_declared(recipe, uses)
    kept = 0 if splits.clean is None else len(splits.clean)
    if recipe.clean_images > kept:
        raise UserError(
            f"the defense adds {recipe.clean_images} clean images, and the data set keeps {kept} from attacks; keep as "
            f"many: {splits.train.info.name}:clean={recipe.clean_images}"
        )


def check_declared(recipe: Recipe, uses: Collection[str]) -> None:
    """Raises ContractError if the recipe has clean images and the defense does not declare them."""
    if recipe.clean_images and DECLARED not in uses:
        raise ContractError(
            f"change_recipe asks for {recipe.clean_images} clean images, which the defense does not declare; register "
            f'it with uses=("{DECLARED}",)'
        )


def with_clean_images(train: ImageSet, splits: Splits, count: int, ctx: Context) -> ImageSet:
    """The training set, and after it so many of the clean images, each class by its share.

    Args:
        train: what the purification passed on; not modified.
        splits: of the data set; `check_clean_images` has passed.
        count: of clean images, at least 0.
        ctx: draws them and provides the memory.
    """
    if splits.clean is None or not count:
        return train
    rows = stratified_rows(splits.clean.labels, count, ctx.generator("clean-images"))
    added = splits.clean.take(rows)
    images = ctx.empty_images((len(train) + count, *train.info.shape))
    images[: len(train)], images[len(train) :] = train.images, added.images
    ratios = None
    if train.aspect_ratios is not None and added.aspect_ratios is not None:
        ratios = torch.cat([train.aspect_ratios, added.aspect_ratios])
    return replace(train, images=images, labels=torch.cat([train.labels, added.labels]), aspect_ratios=ratios)
