"""Linearity of a trained network: the agreement of its gradients at different images.

PIL's authors (arXiv:2601.19967) say that unlearnable examples make networks more linear. According to its reviews, the
paper shows that by the success of FGSM attacks; its code has no such measure, and we did not find the settings. The
measure here is ours, and its values must not be compared with the paper's. The gradient of a linear network is the same
at every image; that of a network that looks at content depends on the image. It needs no radius, and says the same of
a network whose logits are multiplied by a number.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.training import to_float

_PAIRS = 128
_AT_ONCE = 16  # pairs: less memory than a training step of any recipe


def gradient_agreement(
    network: nn.Module, images_u8: Tensor, labels: Tensor, device: torch.device
) -> tuple[float | None, int]:
    """Mean cosine of a network's gradients at two images, and the number of images behind it.

    The gradient is that of one logit, less the mean of all of them, with respect to the image in [0, 1]: the logit of
    the first image's class, at both images. Pairs are drawn at random, always the same, in float32. A pair where a
    gradient is zero or not finite is left out.

    Args:
        network: on the device; in eval mode meanwhile, its weights get no gradients.
        images_u8: uint8 (N, C, H, W).
        labels: int64 (N,).
        device: of the network.

    Returns:
        None and 0 if no pair is left, for example of a network without gradients.

    Raises:
        RuntimeError: torch's own, if the network's operations have no gradient.
    """
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    pairs = min(_PAIRS, len(rows) // 2)
    was_training = network.training
    network.eval()
    found = [torch.empty(0, dtype=torch.float64)]
    for start in range(0, pairs, _AT_ONCE):
        first, second = (rows[offset + start : offset + min(start + _AT_ONCE, pairs)] for offset in (0, pairs))
        here = torch.cat([first, second])
        images = to_float(images_u8[here.to(images_u8.device)].to(device))
        gradients = _gradients(network, images, labels[first].to(device).repeat(2))
        if gradients is not None:
            one, other = gradients.flatten(1).double().cpu().chunk(2)
            found.append((one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1)))
    network.train(was_training)
    cosines = torch.cat(found)
    cosines = cosines[cosines.isfinite()]
    return (float(cosines.mean()), 2 * len(cosines)) if len(cosines) else (None, 0)


@torch.enable_grad()
def _gradients(network: nn.Module, images_01: Tensor, classes: Tensor) -> Tensor | None:
    """Of the logit of each image's class, less the mean logit, (B, C, H, W); None where none flows to the images."""
    images_01.requires_grad_()
    logits = network(images_01.clone())  # which the network may change in place
    if not logits.requires_grad:
        return None
    own = logits.gather(1, classes[:, None]).sum() - logits.mean(dim=1).sum()
    (gradients,) = torch.autograd.grad(own, images_01, allow_unused=True)
    return gradients
