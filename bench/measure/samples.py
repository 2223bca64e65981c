"""A few images stored with every poison and every purified set, for contact sheets: the same ones in every artifact."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import ImageSet

_CLASSES, _OF_EACH = 10, 2


def sample_rows(labels: Tensor) -> Tensor:
    """Positions of the first two images of each of the first ten classes present, int32, class by class."""
    rows = [(labels == label).nonzero().flatten()[:_OF_EACH] for label in torch.unique(labels)[:_CLASSES]]
    return torch.cat(rows).to(torch.int32)


def sample_tensors(clean: ImageSet, result: ImageSet) -> dict[str, Tensor]:
    """Stored tensors: `sample_rows` int32 (S,), `sample_clean` and `sample_result` uint8 (S, C, H, W)."""
    rows = sample_rows(clean.labels)
    return {
        "sample_rows": rows,
        "sample_clean": clean.images[rows.long()],
        "sample_result": result.images[rows.long()],
    }
