"""Training of the network that `avatar` needs, on clean images that its user has.

The objective is that of the paper's score networks: the squared error of the predicted noise, all times alike. Adam and
a moving average of the weights are theirs too. Dropout, warm-up, clipping of gradients and flips are left out, and the
network is smaller and has no attention. Times end where `avatar` begins; theirs go up to pure noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.training import autocast
from defenses.avatar.diffusion import STEPS, kept
from defenses.avatar.network import ScoreNetwork


def trained(
    images_u8: Tensor,
    *,
    epochs: int,
    width: int = 64,
    multipliers: tuple[int, ...] = (1, 2, 2),
    noise_steps: int = 100,
    batch_size: int = 128,
    lr: float = 2e-4,
    decay: float = 0.999,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> ScoreNetwork:
    """A score network, trained on clean images.

    Args:
        images_u8: uint8 (N, C, H, W); sides that 2 ** (len(multipliers) - 1) divides.
        epochs: passes over the images.
        width: channels of the network's first level, a multiple of 8.
        multipliers: of the width at each level.
        noise_steps: times are drawn up to this step of 1,000, so it is the largest `noise_steps` of `avatar` that the
            network suits.
        batch_size: images a step; a last batch may be smaller.
        lr: of Adam.
        decay: of the moving average of the weights.
        seed: of start, order, times and noise, all drawn on the CPU.
        device: where it is trained.
        on_epoch: is told the number of epochs done and the mean loss of the last one; predicting no noise has 1.

    Returns:
        The network with averaged weights, on the CPU.

    Raises:
        ValueError: for a number of steps that the diffusion does not have.
    """
    if not 1 <= noise_steps <= STEPS:
        raise ValueError(f"noise_steps must be in 1..{STEPS}, got {noise_steps}")
    generator, place = torch.Generator().manual_seed(seed), torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = ScoreNetwork(images_u8.shape[1], width, multipliers).to(place)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    factors = torch.tensor([kept(step / STEPS) for step in range(1, noise_steps + 1)])
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), device=place)
        for rows in torch.randperm(len(images_u8), generator=generator).split(batch_size):
            steps = torch.randint(1, noise_steps + 1, (len(rows),), generator=generator)
            noise = torch.randn((len(rows), *images_u8.shape[1:]), generator=generator).to(place)
            factor = factors[steps - 1].view(-1, 1, 1, 1).to(place)
            noisy = factor * (images_u8[rows].to(place).float() / 127.5 - 1) + (1 - factor**2).sqrt() * noise
            with autocast(place):
                predicted = network(noisy, (steps / STEPS).to(place))
            loss = mse_loss(predicted.float(), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            averaged.update_parameters(network)
            total += loss.detach() * len(rows)
        on_epoch(epoch, float(total) / len(images_u8))
    result: ScoreNetwork = averaged.module.cpu().eval()
    return result
