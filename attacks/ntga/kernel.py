"""Neural tangent kernel of an infinitely wide fully connected network, in closed form, and what such a network predicts
after training for a time (Jacot et al., 2018; Lee et al., 2019). Differentiable in the images.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_WEIGHT_VARIANCE, _BIAS_VARIANCE = 1.76, 0.18  # of the authors' networks
_REGULARIZATION = 1e-4  # of the mean of the kernel's diagonal


def tangent_kernel(a: Tensor, b: Tensor, depth: int) -> Tensor:
    """The kernel between two sets of images, (N, M), for `depth` layers, each dense and followed by erf.

    Args:
        a: float (N, D).
        b: float (M, D).
        depth: number of layers.
    """
    covariance = a @ b.T / a.shape[1]
    own_a, own_b = (x.square().sum(1) / x.shape[1] for x in (a, b))
    tangent = torch.zeros_like(covariance)
    for _ in range(depth):
        covariance, own_a, own_b = (_WEIGHT_VARIANCE * k + _BIAS_VARIANCE for k in (covariance, own_a, own_b))
        tangent = covariance + _WEIGHT_VARIANCE * tangent
        scale = (1 + 2 * own_a)[:, None] * (1 + 2 * own_b)
        tangent = tangent * (4 / math.pi) / (scale - 4 * covariance.square()).sqrt()
        covariance = 2 / math.pi * torch.asin(2 * covariance / scale.sqrt())
        own_a, own_b = (2 / math.pi * torch.asin(2 * own / (1 + 2 * own)) for own in (own_a, own_b))
    return tangent


@dataclass(frozen=True)
class Trained:
    """A network after gradient descent on a mean squared error, started at zero.

    Attributes:
        depth: number of layers.
        time: of training: number of steps times their size; the loss is the mean over all entries of the labels / 2.
    """

    depth: int
    time: float

    def predict(self, train: Tensor, wanted: Tensor, seen: Tensor) -> Tensor:
        """Outputs (M, K) for `seen` (M, D), after training on `train` (N, D) with the outputs `wanted` (N, K)."""
        kernel = tangent_kernel(train, train, self.depth)
        kernel = kernel + _REGULARIZATION * kernel.diagonal().mean() * torch.eye(len(train)).to(kernel)
        pace = self.time / wanted.numel()
        return tangent_kernel(seen, train, self.depth) @ (pace * _phi(-pace * kernel, wanted))


def _phi(matrix: Tensor, columns: Tensor) -> Tensor:
    """(exp(A) - 1) A^-1 times the columns, as a block of one matrix exponential: A need not be inverted."""
    size, count = columns.shape
    top = torch.cat([matrix, columns], dim=1)
    whole = torch.cat([top, torch.zeros(count, size + count).to(matrix)])
    return torch.linalg.matrix_exp(whole)[:size, size:]
