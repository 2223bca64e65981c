"""Scores of a poison and of what a defense left of it. Computed by the harness, which knows the clean images.

All inputs are uint8 (N, C, H, W) in the same order; differences are on the [0, 1] scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.api import Budget

_CHUNK = 2048


def psnr_db(images_u8: Tensor, reference_u8: Tensor) -> float | None:
    """Peak signal-to-noise ratio over all entries, in dB; None if the two are identical."""
    total = sum(float(d.square().sum()) for d in _differences(images_u8, reference_u8))
    return 10 * math.log10(images_u8.numel() / total) if total > 0 else None


def residual_poison_ratio(purified_u8: Tensor, poisoned_u8: Tensor, clean_u8: Tensor, labels: Tensor) -> float | None:
    """Share of the class-wise part of the poison that is still there: 1 all of it, 0 none; None without a poison.

    With m_c(d) the mean of d over class c minus the mean over all classes' means:
    sum_c <m_c(purified - clean), m_c(poisoned - clean)> / sum_c |m_c(poisoned - clean)|^2.
    """
    poison = _class_means(poisoned_u8, clean_u8, labels)
    left = _class_means(purified_u8, clean_u8, labels)
    energy = float(poison.square().sum())
    return float((left * poison).sum()) / energy if energy > 0 else None


def perturbation_cosine(estimate: Tensor, poisoned_u8: Tensor, clean_u8: Tensor) -> float | None:
    """Mean over images of the cosine between an estimated perturbation and the true one; None without a poison.

    Args:
        estimate: float (N, C, H, W) on the [0, 1] scale.
        poisoned_u8: what the defender was given.
        clean_u8: what it was before.
    """
    cosines = []
    for start, true in _numbered(_differences(poisoned_u8, clean_u8)):
        true = true.flatten(1)
        guess = estimate[start : start + len(true)].double().flatten(1)
        here = true.norm(dim=1) > 0
        if here.any():
            cosines.append(torch.cosine_similarity(guess[here], true[here], dim=1))
    return float(torch.cat(cosines).mean()) if cosines else None


def class_mean_cosine(estimate: Tensor, poisoned_u8: Tensor, clean_u8: Tensor, labels: Tensor) -> float | None:
    """Cosine between the class means of an estimated and of the true perturbation, averaged over classes."""
    true = _class_means(poisoned_u8, clean_u8, labels)
    guess = _centred_class_means((estimate[s : s + _CHUNK].double() for s in range(0, len(labels), _CHUNK)), labels)
    here = true.norm(dim=1) > 0
    return float(torch.cosine_similarity(guess[here], true[here], dim=1).mean()) if here.any() else None


def measured_sizes(poisoned_u8: Tensor, clean_u8: Tensor) -> dict[str, float]:
    """Sizes of the perturbation as stored: `linf_max`, `l2_mean`, `l2_max` (scale [0, 1]), `l0_max` (pixels)."""
    sizes: dict[str, list[Tensor]] = {"linf": [], "l2": [], "l0": []}
    for start in range(0, len(clean_u8), _CHUNK):
        here = slice(start, start + _CHUNK)
        for norm in ("linf", "l2", "l0"):
            sizes[norm].append(Budget(norm, 0.0).measure(clean_u8[here], poisoned_u8[here]))
    linf, l2, l0 = (torch.cat(sizes[norm]) for norm in ("linf", "l2", "l0"))
    return {
        "linf_max": float(linf.max()),
        "l2_mean": float(l2.mean()),
        "l2_max": float(l2.max()),
        "l0_max": float(l0.max()),
    }


def _differences(images_u8: Tensor, reference_u8: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(images_u8), _CHUNK):
        here = slice(start, start + _CHUNK)
        yield (images_u8[here].double() - reference_u8[here].double()) / 255


def _numbered(chunks: Iterator[Tensor]) -> Iterator[tuple[int, Tensor]]:
    start = 0
    for chunk in chunks:
        yield start, chunk
        start += len(chunk)


def _class_means(images_u8: Tensor, reference_u8: Tensor, labels: Tensor) -> Tensor:
    return _centred_class_means(_differences(images_u8, reference_u8), labels)


def _centred_class_means(chunks: Iterator[Tensor], labels: Tensor) -> Tensor:
    """(classes present, C*H*W): each class's mean minus the mean of all of them."""
    classes, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums: Tensor | None = None
    for start, chunk in _numbered(chunks):
        flat = chunk.flatten(1)
        if sums is None:
            sums = torch.zeros(len(classes), flat.shape[1], dtype=torch.float64)
        sums.index_add_(0, index[start : start + len(flat)], flat)
    assert sums is not None
    means: Tensor = sums / counts[:, None]
    return means - means.mean(dim=0)
