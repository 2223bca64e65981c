"""Scores of a poison and of what a defense left of it. Computed by the harness, which knows the clean images.

All inputs are uint8 (N, C, H, W) in the same order. Differences are float32 in whole levels: that and their sums over
a chunk or a row of pixels are exact, and a few hundred images at a time stay in a CPU's caches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.api import Budget
from bench.api.budget import BudgetSum
from bench.measure.ssim import mean_ssim
from bench.store import scores

_CHUNK = 256
_SEPARABILITY_IMAGES = 5000  # of 3 x 32 x 32; fewer of larger images, so that the time stays within some seconds
_RIDGE = 0.01  # of the mean square of a perturbation


def poison_scores(
    poisoned_u8: Tensor, clean_u8: Tensor, labels: Tensor, mask: Tensor, budget: Budget | BudgetSum
) -> dict[str, float | None]:
    """Scores of a poison, on the images of the mask; `bench.store.scores.SCORES` explains the names."""
    separability, held_out = linear_separability(poisoned_u8, clean_u8, labels, mask)
    offered = (poisoned_u8, clean_u8) if bool(mask.all()) else (poisoned_u8[mask], clean_u8[mask])
    similarity, compared = mean_ssim(*offered)
    return {
        "poison_psnr_db": psnr_db(*offered),
        "poison_ssim": similarity,
        "poison_ssim_images": compared or None,
        **{f"poison_{name}": size for name, size in measured_sizes(*offered).items()},
        "poisoned_images": int(mask.sum()),
        "poison_separability": separability,
        "poison_separability_images": held_out or None,
        "poison_class_share": class_share(*offered, labels[mask]),
        **{f"poison_{name}": share for name, share in entry_shares(poisoned_u8, clean_u8, mask, budget).items()},
    }


def psnr_db(images_u8: Tensor, reference_u8: Tensor) -> float | None:
    """Peak signal-to-noise ratio over all entries, in dB; None if the two are identical."""
    total = sum(float(d.square().sum(-1).double().sum()) for d in _differences(images_u8, reference_u8))
    return scores.psnr_db(total, images_u8.numel())


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
        true = true.flatten(1).double()
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


def linear_separability(
    poisoned_u8: Tensor, clean_u8: Tensor, labels: Tensor, mask: Tensor
) -> tuple[float | None, int]:
    """Share of held-out perturbations whose class a linear classifier finds, and how many were held out.

    A ridge classifier is fitted to the perturbations of one half of the poisoned images and judged on the other half.
    (On the images it was fitted to it finds every class, poison or not, wherever an image has more entries than there
    are images.) The halves are drawn from at most 5,000 images of 3 x 32 x 32, fewer of larger ones, always the same.

    Args:
        poisoned_u8: uint8 (N, C, H, W).
        clean_u8: the same before.
        labels: int64 (N,).
        mask: bool (N,), the images offered to the attack.

    Returns:
        None and 0 without a poison, of one class only or of fewer than 4 images.
    """
    if torch.equal(poisoned_u8, clean_u8):
        return None, 0
    rows = chosen_rows(mask, clean_u8)
    delta = (poisoned_u8[rows].float() - clean_u8[rows].float()).flatten(1) / 255
    classes, index = torch.unique(labels[rows], return_inverse=True)
    half = len(rows) // 2
    fitted, held_out = delta[:half], delta[half:]
    if half < 2 or len(classes) < 2 or not bool(delta.any()):
        return None, 0
    mean = fitted.mean(dim=0)
    fitted, held_out = fitted - mean, held_out - mean
    wanted = torch.nn.functional.one_hot(index[:half], len(classes)).float()
    weights = _ridge(fitted, wanted - wanted.mean(dim=0))
    found = (held_out @ weights + wanted.mean(dim=0)).argmax(dim=1)
    return float((found == index[half:]).double().mean()), len(held_out)


def chosen_rows(mask: Tensor, images_u8: Tensor) -> Tensor:
    """Positions of at most 5,000 images of a mask, fewer if larger than 3 x 32 x 32; always the same, shuffled."""
    rows = mask.nonzero().flatten()
    limit = int(_SEPARABILITY_IMAGES * min(1.0, math.sqrt(3072 / images_u8[:1].numel())))
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:limit]]


def _ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """Weights (D, K) of ridge regression, in closed form on the smaller of the (n, n) and the (D, D) matrix."""
    n, entries = inputs.shape
    strength = max(_RIDGE * float(inputs.square().sum()) / n, 1e-12)
    dual = entries > n
    moments = (inputs @ inputs.T if dual else inputs.T @ inputs).double()
    moments.diagonal().add_(strength)
    solution: Tensor = torch.linalg.solve(moments, (targets if dual else inputs.T @ targets).double()).float()
    return inputs.T @ solution if dual else solution


def class_share(poisoned_u8: Tensor, clean_u8: Tensor, labels: Tensor) -> float | None:
    """Share of a perturbation's energy that is one pattern per class; None without a poison.

    sum_c n_c |mean of d over class c|^2 / sum |d|^2: 1 for class-wise noise that nowhere clips, and for independent
    noise about the number of classes by the number of images.
    """
    classes, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(classes), poisoned_u8[:1].numel(), dtype=torch.float64)
    energy = 0.0
    for start, delta in _numbered(_differences(poisoned_u8, clean_u8)):
        flat = delta.flatten(1)
        part = flat.new_zeros(sums.shape).index_add_(0, index[start : start + len(flat)], flat)
        sums += part.double()
        energy += float(flat.square().sum(dim=1).double().sum())
    return float((sums.square().sum(dim=1) / counts).sum()) / energy if energy else None


def entry_shares(
    poisoned_u8: Tensor, clean_u8: Tensor, mask: Tensor, budget: Budget | BudgetSum
) -> dict[str, float | None]:
    """Shares among the entries (pixels times channels) of the poisoned images.

    Returns:
        `at_bound_share`: entries changed by the whole radius of an L-inf budget; None for other budgets.
        `negative_share`: of the changed entries, those that became darker.
        `clipped_share`: of the changed entries, those that ended at 0 or 255, where the poison may have been cut.
        All are None without a poison.
    """
    bound = budget.levels if isinstance(budget, Budget) and budget.norm == "linf" else None
    total = changed = at_bound = negative = clipped = 0
    for rows in torch.split(mask.nonzero().flatten(), _CHUNK):
        after = poisoned_u8[rows]
        delta = after.to(torch.int16) - clean_u8[rows].to(torch.int16)
        moved = delta != 0
        total += delta.numel()
        changed += int(moved.sum())
        negative += int((delta < 0).sum())
        clipped += int((moved & ((after == 0) | (after == 255))).sum())
        at_bound += int((delta.abs() == bound).sum()) if bound else 0
    if changed == 0:
        return {"at_bound_share": None, "negative_share": None, "clipped_share": None}
    return {
        "at_bound_share": at_bound / total if bound else None,
        "negative_share": negative / changed,
        "clipped_share": clipped / changed,
    }


def _differences(images_u8: Tensor, reference_u8: Tensor) -> Iterator[Tensor]:
    for images, reference in zip(torch.split(images_u8, _CHUNK), torch.split(reference_u8, _CHUNK), strict=True):
        yield images.float().sub_(reference)


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
        here = index[start : start + len(flat)]
        part = flat.new_zeros(len(classes), flat.shape[1]).index_add_(0, here, flat).double()
        sums = part if sums is None else sums.add_(part)
    assert sums is not None
    means: Tensor = sums / counts[:, None]
    return means - means.mean(dim=0)
