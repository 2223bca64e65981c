"""Trial of a victim's network before it is trained: weights to train, and one logit for each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.api import DataInfo
from bench.errors import ContractError
from bench.training.numbers import autocast
from bench.training.seeding import seeded
from bench.training.snapshot import restored


def check_network(network: nn.Module, info: DataInfo, device: torch.device, in_steps: bool = True) -> None:
    """Runs two images through the network in eval mode, and leaves it and torch's generators as they were.

    Args:
        network: on `device`.
        info: gives the size of an image and the number of classes.
        device: where the two images are made.
        in_steps: the network is to be trained by gradients, so that it needs weights.

    Raises:
        ContractError: one sentence, if a weight has no size yet, no weight is trained, or the result is not a tensor
            of numbers (2, classes). Errors of the network itself are passed on.
    """
    if not isinstance(network, nn.Module):
        raise ContractError(f"build returned {type(network).__name__}, expected a torch.nn.Module")
    if lazy := next((name for name, tensor in network.named_parameters() if is_lazy(tensor)), ""):
        raise ContractError(f"the weight {lazy} has no size yet: run one forward pass in build, or give the sizes")
    if in_steps and not any(parameter.requires_grad for parameter in network.parameters()):
        raise ContractError("the network has no weight to train: no parameter requires gradients")
    generator = torch.Generator().manual_seed(0)
    with restored(network), seeded(generator, device), torch.no_grad(), autocast(device):
        outputs = network.eval()(torch.rand(2, *info.shape, generator=generator).to(device))
    expected = f"expected logits (2, {info.num_classes}) for two images of {info.num_classes} classes"
    if not isinstance(outputs, Tensor):
        raise ContractError(f"the network's forward returned {type(outputs).__name__}, {expected}")
    if tuple(outputs.shape) != (2, info.num_classes):
        raise ContractError(f"the network's forward returned a tensor {tuple(outputs.shape)}, {expected}")
    if not outputs.is_floating_point():
        raise ContractError(f"the network's forward returned {outputs.dtype}, expected floating-point logits")
