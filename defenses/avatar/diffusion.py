"""The variance-preserving diffusion (Song et al., ICLR 2021, arXiv:2011.13456): noise there, and back by its reverse.

Images are on [-1, 1]; time runs from 0 (an image) to 1 (noise). The noise rate rises linearly from 0.1 to 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 1000
_SLOWEST, _FASTEST = 0.1, 20.0

Draw = Callable[[torch.Size], Tensor]
Predict = Callable[[Tensor, Tensor], Tensor]
"""Gets images (B, C, H, W) and their times (B,) in [0, 1]; returns the noise in them, standard deviation 1."""


def rate(time: float) -> float:
    """Rate at which noise comes in."""
    return _SLOWEST + time * (_FASTEST - _SLOWEST)


def kept(time: float) -> float:
    """Factor of the image at a time; the noise then has the deviation sqrt(1 - kept^2)."""
    return math.exp(-0.25 * time * time * (_FASTEST - _SLOWEST) - 0.5 * time * _SLOWEST)


def noised(images: Tensor, steps: int, draw: Draw) -> Tensor:
    """The images after so many steps of noise; with 0 the images themselves."""
    factor = math.prod(math.sqrt(1 - rate(step / (STEPS - 1)) / STEPS) for step in range(steps))
    return factor * images + math.sqrt(1 - factor * factor) * draw(images.shape) if steps else images


def purified(images: Tensor, steps: int, predict: Predict, draw: Draw) -> Tensor:
    """The reverse of `steps` steps of noise, by Euler-Maruyama with steps of 1 / 1000 down to time 0."""
    for step in range(steps, 0, -1):
        time = step / STEPS
        times = torch.full((len(images),), time, device=images.device)
        score = -predict(images, times) / math.sqrt(1 - kept(time) ** 2)
        speed = rate(time)
        drift = 0.5 * speed * images + speed * score
        images = images + drift / STEPS + math.sqrt(speed / STEPS) * draw(images.shape)
    return images
