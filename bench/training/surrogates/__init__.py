"""Surrogates: the networks that attacks train while they craft, and the common parts of such attacks."""

from bench.training.surrogates.attack import Crafted, SurrogateAttack
from bench.training.surrogates.clean import step_decay, train_on_clean
from bench.training.surrogates.crafting import (
    Passes,
    at_once,
    check_batch_size,
    check_classes,
    check_eps,
    check_finite,
    check_memory,
    check_positive,
    chunks,
    empty_noise,
    judge,
    load,
    report,
)
from bench.training.surrogates.networks import (
    SurrogateName,
    build_surrogate,
    check_surrogate,
    labeled,
    labeled_loss,
    surrogate_layers,
)
from bench.training.surrogates.sweep import Sweep
from bench.training.surrogates.trainer import Trainer

__all__ = [
    "Crafted",
    "Passes",
    "SurrogateAttack",
    "SurrogateName",
    "Sweep",
    "Trainer",
    "at_once",
    "build_surrogate",
    "check_batch_size",
    "check_classes",
    "check_eps",
    "check_finite",
    "check_memory",
    "check_positive",
    "check_surrogate",
    "chunks",
    "empty_noise",
    "judge",
    "labeled",
    "labeled_loss",
    "load",
    "report",
    "step_decay",
    "surrogate_layers",
    "train_on_clean",
]
