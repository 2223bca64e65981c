"""Training, shared by victims, purifiers and surrogates: one loop, its batches, its optimizer, its evaluation.

Plug-ins import the names of `__all__` from here; projected gradient steps are `bench.training.pgd`, resized crops
`bench.training.crops`.
"""

from bench.training.batches import Batch, Batches, resident, shift_and_flip
from bench.training.evaluate import TrainingDivergedError, accuracy, predict
from bench.training.loop import cross_entropy, fit
from bench.training.numbers import autocast, to_float, to_uint8
from bench.training.optimizer import Stepper, lr_factor, make_optimizer
from bench.training.rehearsal import rehearse
from bench.training.seeding import build, seeded
from bench.training.step import Loss

__all__ = [
    "Batch",
    "Batches",
    "Loss",
    "Stepper",
    "TrainingDivergedError",
    "accuracy",
    "autocast",
    "build",
    "cross_entropy",
    "fit",
    "lr_factor",
    "make_optimizer",
    "predict",
    "rehearse",
    "resident",
    "seeded",
    "shift_and_flip",
    "to_float",
    "to_uint8",
]
