"""Finds catastrophic overfitting of single-step adversarial training while it runs.

The network learns to hide from the single step: accuracy under it rises, and under any longer attack it falls to zero,
all within an epoch (Wong et al., ICLR 2020, arXiv:2001.03994). Their code looks for a sudden fall of the accuracy under
five steps from one epoch to the next; the gap between one step and five on the same batch needs no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.api import Context
from bench.pgd import frozen
from bench.training import autocast

_WIDE_GAP = 0.2


def overfits(single: float, several: float) -> bool:
    """Whether accuracy under several steps has collapsed while that under the single step has not.

    Less than half of it and 20 points lower: a network with little accuracy to lose does not count.
    """
    return single - several > _WIDE_GAP and several < single / 2


def accuracies(model: nn.Module, attacked: tuple[Tensor, ...], labels: Tensor) -> list[float]:
    """Share classified right in each of several versions of a batch; waits for the device, once."""
    # Frozen, so that autocast does not keep the weights it casts here, without gradient, for the loss that follows.
    with frozen(model), torch.no_grad(), autocast(labels.device):
        shares = [(model(images).argmax(dim=1) == labels).double().mean() for images in attacked]
    found: list[float] = torch.stack(shares).tolist()
    return found


@dataclass
class Watch:
    """What the checks of one training found so far.

    Attributes:
        batches: seen.
        checked: number of the batch, from 1, at every check.
        single: accuracy under one step at these checks.
        several: accuracy under several steps.
    """

    batches: int = 0
    checked: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    several: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, ctx: Context) -> Watch:
        """Says in the manifest that nothing is known yet: a training of fewer batches is never checked."""
        ctx.log("catastrophic_overfitting", "not checked")
        return cls()

    def add(self, single: float, several: float, ctx: Context) -> None:
        """Records a check, and the whole series in the manifest."""
        self.checked.append(float(self.batches))
        self.single.append(single)
        self.several.append(several)
        pairs = zip(self.checked, self.single, self.several, strict=True)
        where = [batch for batch, one, more in pairs if overfits(one, more)]
        ctx.log("catastrophic_overfitting", bool(where))
        ctx.log("catastrophic_overfitting_batches", where)
        ctx.log("checked_batches", self.checked)
        ctx.log("single_step_accuracy", self.single)
        ctx.log("several_step_accuracy", self.several)
