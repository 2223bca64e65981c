"""Names that a plug-in imports: data types, the three protocols with their faces, bases for plug-ins.

Conventions, everywhere: images are uint8 (N, C, H, W) at every border between stages and float in [0, 1] inside;
labels are int64 (N,); a perturbation budget of 1.0 is the full pixel range; all randomness comes from `Context`.
"""

from bench.api.bases import Filter, LossDefense
from bench.api.budget import Budget
from bench.api.context import Context, child_seed
from bench.api.faces import (
    Attack,
    ChangesRecipe,
    ChecksFit,
    Defense,
    Differentiable,
    FitsOnce,
    HoldsPart,
    NamesOthers,
    Purifies,
    SeesTestImages,
    StacksOn,
    TrainedDifferentiable,
    TrainsDifferently,
    Victim,
)
from bench.api.images import DataInfo, ImageSet, draw_per_class, map_images
from bench.api.part_context import part_of_chain, pass_on
from bench.api.partial import PartialPoison
from bench.api.perturbation import Rounding, add_perturbation, perturb
from bench.api.recipe import Recipe, check_crops
from bench.api.work import GRADIENT_PASSES, STEP_PASSES, KnowsStep, KnowsWork, Work, no_network

__all__ = [
    "GRADIENT_PASSES",
    "STEP_PASSES",
    "Attack",
    "Budget",
    "ChangesRecipe",
    "ChecksFit",
    "Context",
    "DataInfo",
    "Defense",
    "Differentiable",
    "Filter",
    "FitsOnce",
    "HoldsPart",
    "ImageSet",
    "KnowsStep",
    "KnowsWork",
    "LossDefense",
    "NamesOthers",
    "PartialPoison",
    "Purifies",
    "Recipe",
    "Rounding",
    "SeesTestImages",
    "StacksOn",
    "TrainedDifferentiable",
    "TrainsDifferently",
    "Victim",
    "Work",
    "add_perturbation",
    "check_crops",
    "child_seed",
    "draw_per_class",
    "map_images",
    "no_network",
    "part_of_chain",
    "pass_on",
    "perturb",
]
