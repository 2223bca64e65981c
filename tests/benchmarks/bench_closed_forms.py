"""OPS, AR and LSP in closed form, against the loops of the official algorithms (own code)."""

import itertools

import numpy as np
import torch
from torch import Tensor

from attacks.ar import Ar
from attacks.lsp import Lsp
from attacks.ops import Ops
from bench.api import Context, ImageSet
from bench.datasets import loading

from .ratio import Run

_CPU = torch.device("cpu")
_PATCH = 8


def bench_ops(run: Run) -> None:
    """OPS; plain: every pixel and color of every class over its images."""
    train = _images(run)
    run.ratio(
        lambda: Ops().poison(train, _context(run)),
        lambda: plain_ops(train.images.permute(0, 2, 3, 1).numpy(), train.labels.numpy()),
        at_least=20,
        count=len(train),
    )


def bench_ar(run: Run) -> None:
    """AR; plain: one step an entry, image by image."""
    train, windows = _images(run), Ar()._load(10).float()
    looped = run.size(full=20, tiny=1)
    run.ratio(
        lambda: Ar().poison(train, _context(run)),
        lambda: plain_ar(train.images[:looped], train.labels, windows, torch.randn(looped, 3, 36, 36)),
        at_least=20,
        count=len(train),
        plain_count=looped,
        note=f"plain: {looped} images, scaled",
    )


def bench_lsp(run: Run) -> None:
    """LSP; plain: arrays of all images at once, as released."""
    train = _images(run)
    images, labels = train.images.permute(0, 2, 3, 1).numpy(), train.labels.numpy()
    run.ratio(
        lambda: Lsp().poison(train, _context(run)),
        lambda: plain_lsp(images, labels, plain_features(labels, np.random.default_rng(0))),
        at_least=None,
        count=len(train),
    )


def _images(run: Run) -> ImageSet:
    run.device = _CPU  # on every machine, so that a seed gives the same poison everywhere
    return loading.load(f"shapes:train={run.size(full=5000, tiny=20)}:test=10", run.folder).train


def _context(run: Run) -> Context:
    return Context(0, _CPU, run.folder)


def plain_ops(images_u8: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores the 8 H W candidates of a class on all its images; uint8 (N, H, W, 3) in and out."""
    height, width = images_u8.shape[1:3]
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    taken: list[tuple[int, int]] = []
    poisoned = images_u8.copy()
    for label in range(10):
        members = np.flatnonzero(labels == label)
        of_class = images_u8[members] / 255
        scores = np.zeros((height * width, len(corners)))
        for position in range(height * width):
            pixels = of_class[:, position // width, position % width]
            for color, corner in enumerate(corners):
                if (position, color) not in taken:
                    distance = np.abs(corner - pixels)
                    scores[position, color] = distance.mean() / distance.std()
        position, color = divmod(int(scores.argmax()), len(corners))
        taken.append((position, color))
        poisoned[members, position // width, position % width] = 255 * corners[color]
    return poisoned


def plain_ar(images_u8: Tensor, labels: Tensor, windows: Tensor, fields: Tensor) -> Tensor:
    """Raster order, channel by channel; uint8 (n, 3, 32, 32), fields (n, 3, 36, 36) of normals that are overwritten."""
    poisoned = []
    for image, label, field in zip(images_u8, labels, fields, strict=False):
        for channel, row, column in itertools.product(range(3), range(34), range(34)):
            seen = field[channel, row : row + 3, column : column + 3]
            field[channel, row + 2, column + 2] = (seen * windows[label, channel]).sum()
        noise = field[:, 4:, 4:]
        poisoned.append(255 * (image / 255 + noise / noise.norm()).clamp(0, 1))
    return torch.stack(poisoned).round().to(torch.uint8)


def plain_features(labels: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """One vector an image, float64 (N, 48): a Gaussian cluster a class around a vertex of the hypercube."""
    features = np.empty((len(labels), 48))
    for label in range(10):
        rows = labels == label
        mixing = draws.uniform(-1, 1, (48, 48))
        features[rows] = draws.normal(size=(rows.sum(), 48)) @ mixing + 10 * draws.choice([-1, 1], 48)
    return features


def plain_lsp(images_u8: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Features become patches, scaled and added class by class, truncated; uint8 (N, 32, 32, 3) in and out."""
    grid = features.astype(np.float32).reshape(-1, 4, 4, 3)
    noise = np.repeat(np.repeat(grid, _PATCH, 2), _PATCH, 1).reshape(len(features), -1)
    noise = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).reshape(images_u8.shape) * Lsp().eps
    poisoned = images_u8.astype(np.float64) / 255
    for label in range(10):
        poisoned[labels == label] += noise[labels == label]
    return np.clip(255 * poisoned, 0, 255).astype(np.uint8)
