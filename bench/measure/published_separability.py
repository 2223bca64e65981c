"""Linear separability as in "What Can We Learn from Unlearnable Datasets?" (Sandoval-Segura et al., NeurIPS 2023).

Follows `test_linear_separability.py` of the authors' code (`psandovalsegura/learn-from-unlearnable`): all perturbations
are scaled to [0, 1] by the smallest and the largest entry of all of them, a linear network is trained on them at once,
with cross-entropy and 500 steps of PyTorch's L-BFGS (lr 0.5, up to 20 iterations a step, no line search), and judged on
the same perturbations.

Deviations:
- only images that the attack was allowed to change are taken; there, an attack changes all of them;
- the network's start is drawn from a fixed seed; theirs has none;
- the fit ends once it finds every class, or once a step changes no weight (then no later step does);
- there is no value if the fit diverges; theirs counts the images of class 0 then;
- there is no value where it would say nothing, or where it takes too long: see `published_separability`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

_STEPS, _LR = 500, 0.5
_CPU_WORK = 10_000_000  # images x weights; 50,000 images of 3 x 32 x 32 and ten classes are 150 times as much
_AT_ONCE = 4096  # images of a part of the sum; the gradient is that of all of them


def published_separability(
    poisoned_u8: Tensor, clean_u8: Tensor, labels: Tensor, mask: Tensor, device: torch.device
) -> tuple[float | None, float | None]:
    """Shares of the perturbations that a linear network fits: with their labels, and with shuffled labels.

    The second one is the control: what a poison reaches whose perturbations have nothing to do with the class. It falls
    with the number of images for each entry (ten classes, random signs: 1.00 up to 4, 0.54 at 6, 0.27 at 16, as many as
    CIFAR-10 has). So the test is run only where there are more images than weights (classes times entries). Far below
    that, any labels are fitted.

    Args:
        poisoned_u8: uint8 (N, C, H, W).
        clean_u8: the same before.
        labels: int64 (N,).
        mask: bool (N,), the images offered to the attack.
        device: where it is computed. On a CPU, only small sets are: up to 10,000 passes over 50,000 images take hours.

    Returns:
        None and None with at most as many images as weights, if it takes too long, without a poison, of one class
        only. None for a fit that diverges.
    """
    classes, index = torch.unique(labels[mask], return_inverse=True)
    weights = len(classes) * poisoned_u8[:1].numel()
    too_long = device.type == "cpu" and len(index) * weights > _CPU_WORK
    if len(classes) < 2 or len(index) <= weights or too_long or torch.equal(poisoned_u8[mask], clean_u8[mask]):
        return None, None
    poisoned, clean = (images_u8[mask].flatten(1).to(device) for images_u8 in (poisoned_u8, clean_u8))
    shuffled = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(0))]
    own, control = (_fitted(poisoned, clean, wanted.to(device), len(classes)) for wanted in (index, shuffled))
    return own, control


def _fitted(poisoned_u8: Tensor, clean_u8: Tensor, index: Tensor, classes: int) -> float | None:
    """Share of the classes `index` (N,) that a linear network finds after it was trained on the rows (N, D)."""
    parts = list(zip(*(torch.split(t, _AT_ONCE) for t in (poisoned_u8, clean_u8, index)), strict=True))
    extremes = torch.stack([d for p, c, _ in parts for d in (p.float() - c.float()).aminmax()])
    low, high = extremes.amin(), extremes.amax()

    def scaled(poisoned: Tensor, clean: Tensor) -> Tensor:
        return (poisoned.float() - clean.float() - low) / (high - low)

    generator, bound = torch.Generator().manual_seed(0), poisoned_u8.shape[1] ** -0.5  # as `nn.Linear` starts
    weight, bias = (
        torch.empty(shape).uniform_(-bound, bound, generator=generator).to(index.device).requires_grad_()
        for shape in ((classes, poisoned_u8.shape[1]), (classes,))
    )
    optimizer = torch.optim.LBFGS([weight, bias], lr=_LR)

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), device=index.device)
        for poisoned, clean, wanted in parts:
            part = cross_entropy(linear(scaled(poisoned, clean), weight, bias), wanted, reduction="sum") / len(index)
            part.backward()  # type: ignore[no-untyped-call]
            total += part.detach()
        return total

    def found() -> float:
        with torch.no_grad():
            right = [(linear(scaled(p, c), weight, bias).argmax(dim=1) == wanted).sum() for p, c, wanted in parts]
        return int(torch.stack(right).sum()) / len(index)

    share = 0.0
    with torch.enable_grad():
        for _ in range(_STEPS):
            before = weight.detach().clone(), bias.detach().clone()
            optimizer.step(loss)  # type: ignore[no-untyped-call]
            if not bool(torch.isfinite(weight).all()):  # NaN has a largest class too: the first
                return None
            share = found()
            if share == 1.0 or (torch.equal(before[0], weight) and torch.equal(before[1], bias)):
                break
    return share
