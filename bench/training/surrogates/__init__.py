"""Surrogates: the networks that attacks train while they craft, and the common parts of such attacks."""

from bench.training.surrogates.crafting import (
    Passes,
    check_batch_size,
    check_classes,
    check_eps,
    check_finite,
    check_memory,
    check_positive,
    chosen_rows,
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
    endless,
    surrogate_layers,
)

__all__ = [
    "Passes",
    "SurrogateName",
    "build_surrogate",
    "check_batch_size",
    "check_classes",
    "check_eps",
    "check_finite",
    "check_memory",
    "check_positive",
    "check_surrogate",
    "chosen_rows",
    "chunks",
    "empty_noise",
    "endless",
    "judge",
    "load",
    "report",
    "surrogate_layers",
]
