"""Finds the coefficients of the AR attack; the sets shipped in `attacks/data` were found once with it.

    python -m attacks.ar_coefficients --classes 10 --seed 0 --out attacks/data/ar-10.npy

Deviations from the authors' finder (`psandovalsegura/autoregressive-poisoning`):
- windows are tested on 200 fields of 36x36 and on 20 of 228x228 instead of three of 36x36. Of processes that pass 200
  draws at 36x36, a quarter exceed the same bound at 228x228 (32 of 121);
- only windows with rough fields are kept: smooth fields hardly excite the filters of other processes;
- a process is three stable windows, drawn from a pool, instead of three raw ones tested together;
- there is no threshold of acceptance: of the candidates, those are chosen whose smallest mutual response is as large
  as farthest-point selection makes it. A response is averaged over draws and taken in both directions, the filter of
  one process on the fields of the other; the authors test one direction on one draw (at least 10 for 10 classes,
  at least 3 for 100).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from attacks.ar_process import autoregress, filters, normals_needed

_CROP = 4
_LARGEST_RMS = 50 / math.sqrt(3 * 32 * 32)  # the authors' bound, an L2 norm of 50 for 3x32x32, for fields of any size
_SMALLEST_ROUGHNESS = 0.5  # 0: constant; 1: as rough as white noise
_DRAWS = 8


def find_coefficients(num_classes: int, seed: int, pool: int = 300, candidates: int = 1000) -> tuple[Tensor, float]:
    """Processes whose fields stay bounded and answer each other's filters as strongly as possible.

    Args:
        num_classes: processes to find.
        seed: of all draws.
        pool: stable windows to draw from.
        candidates: processes to choose from; time grows with the square.

    Returns:
        float64 (num_classes, 3, 3, 3), by class and channel, and the smallest mutual response among them.
    """
    generator = torch.Generator().manual_seed(seed)
    windows = _stable_windows(pool, generator)
    processes = windows[torch.randint(pool, (candidates, 3), generator=generator)]
    mutual = _mutual_responses(processes, generator)
    chosen, smallest = _spread(mutual, num_classes)
    return processes[chosen], smallest


def _stable_windows(count: int, generator: torch.Generator) -> Tensor:
    """Windows that sum to 1, with bounded and rough fields, float64 (count, 3, 3)."""
    found: list[Tensor] = []
    while sum(map(len, found)) < count:
        raw = torch.randn(1000, 9, generator=generator, dtype=torch.float64)
        raw[:, 8] = 0
        total = raw.sum(1, keepdim=True)
        windows = raw / total
        tame = (total.abs() >= 0.5).all(1) & (windows.abs() <= 1.5).all(1)
        windows = windows[tame].view(-1, 3, 3)
        for side, draws in ((32, 3), (32, 200), (224, 20)):  # cheapest first
            fields = _fields(windows, draws, side, generator)
            rms = fields.square().mean((2, 3)).sqrt().amax(1)  # NaN and inf compare false
            windows = windows[(rms <= _LARGEST_RMS) & (_roughness(fields) >= _SMALLEST_ROUGHNESS)]
        found.append(windows)
    return torch.cat(found)[:count]


def _fields(windows: Tensor, draws: int, side: int, generator: torch.Generator) -> Tensor:
    """Square fields without their start-up region, float64 (len(windows), draws, side, side)."""
    full = side + _CROP
    start = torch.randn(len(windows), draws, normals_needed(full, full), generator=generator, dtype=torch.float64)
    return autoregress(windows, start, full, full)[..., _CROP:, _CROP:]


def _roughness(fields: Tensor) -> Tensor:
    """Mean square difference of neighbors over that of independent entries of the same energy, (len(fields),)."""
    down, right = fields.diff(dim=2).square().mean((1, 2, 3)), fields.diff(dim=3).square().mean((1, 2, 3))
    return (down + right) / (4 * fields.square().mean((1, 2, 3)))


def _mutual_responses(processes: Tensor, generator: torch.Generator) -> Tensor:
    """Symmetric (P, P): the summed relu of the filter of one on the noise of the other, the weaker direction."""
    fields = (
        _fields(processes.flatten(0, 1), _DRAWS, 32, generator).view(len(processes), 3, _DRAWS, 32, 32).transpose(1, 2)
    )
    noise = (fields / fields.square().sum((2, 3, 4), keepdim=True).sqrt()).float()
    kernels = filters(processes).float()
    responses = torch.stack([conv2d(draws, kernels).relu().sum((2, 3)).mean(0) for draws in noise])
    return torch.minimum(responses, responses.T)


def _spread(mutual: Tensor, count: int) -> tuple[Tensor, float]:
    """Farthest-point selection from every start: the best `count` rows and their smallest mutual response."""
    rows = torch.arange(len(mutual))
    chosen, nearest = rows[:, None], mutual.clone()
    smallest = torch.full((len(mutual),), math.inf)
    while chosen.shape[1] < count:
        value, added = nearest.max(dim=1)
        smallest = torch.minimum(smallest, value)
        nearest = torch.minimum(nearest, mutual[added])
        chosen = torch.cat([chosen, added[:, None]], dim=1)
    best = smallest.argmax()
    return chosen[best], float(smallest[best])


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    coefficients, smallest = find_coefficients(arguments.classes, arguments.seed)
    np.save(arguments.out, coefficients.numpy())
    print(f"{arguments.classes} processes, smallest mutual response {smallest:.2f}, written to {arguments.out}")


if __name__ == "__main__":
    _main()
