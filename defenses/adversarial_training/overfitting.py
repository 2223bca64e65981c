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
from bench.training import autocast
from bench.training.pgd import frozen

_WIDE_GAP = 0.2


def overfits(single: float, several: float) -> bool:
    """True if accuracy under several steps has collapsed while that under the single step has not.

    Less than half of it and 20 points lower: a network with little accuracy to lose does not count.
    """
    return single - several > _WIDE_GAP and several < single / 2


def accuracies(model: nn.Module, attacked: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Share classified right in each of several versions of a batch, float64, on the device."""
    # Frozen, so that autocast does not keep the weights it casts here, without gradient, for the loss that follows.
    with frozen(model), torch.no_grad(), autocast(labels.device):
        return torch.stack([(model(images).argmax(dim=1) == labels).double().mean() for images in attacked])


@dataclass
class Watch:
    """Findings of the checks of one training so far.

    Attributes:
        batches: seen.
        checked: number of the batch, from 1, at every check.
        found: float64 (2,) at every check, on the device: accuracy under one step and under several.
    """

    batches: int = 0
    checked: list[float] = field(default_factory=list)
    found: list[Tensor] = field(default_factory=list)

    @classmethod
    def begin(cls, ctx: Context) -> Watch:
        """One that reports when the training is over."""
        watch = cls()
        ctx.log_later(watch.report)
        return watch

    def add(self, found: Tensor) -> None:
        """Records a check without reading it."""
        self.checked.append(float(self.batches))
        self.found.append(found)

    def report(self) -> dict[str, str | bool | list[float]]:
        """The whole series; a training of fewer batches than lie between checks was `not checked`."""
        if not self.found:
            return {"catastrophic_overfitting": "not checked"}
        single, several = torch.stack(self.found, dim=1).tolist()
        pairs = zip(self.checked, single, several, strict=True)
        where = [batch for batch, one, more in pairs if overfits(one, more)]
        return {
            "catastrophic_overfitting": bool(where),
            "catastrophic_overfitting_batches": where,
            "checked_batches": self.checked,
            "single_step_accuracy": single,
            "several_step_accuracy": several,
        }
