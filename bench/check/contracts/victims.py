"""Checks of victims: the network and its training."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api.engine import Engine
from bench.check.contracts.demands import demand
from bench.datasets.splits import Splits
from bench.select.spec import Selected
from bench.training import autocast


def builds_a_classifier(selected: Selected, tiny: Splits) -> None:
    """Logits (B, K) from float images in [0, 1], for one image and for several, the same in eval mode."""
    info = tiny.train.info
    model = selected.component.build(info).eval()
    images_01 = tiny.train.images[:4].float() / 255
    with torch.no_grad():
        logits: Tensor = model(images_01)
        one_by_one = torch.cat([model(image[None]) for image in images_01])
    demand(tuple(logits.shape) == (4, info.num_classes), f"logits are {tuple(logits.shape)}, expected (4, K)")
    demand(torch.allclose(logits, one_by_one, atol=1e-4), "logits depend on the batch in eval mode")


def trains(selected: Selected, tiny: Splits) -> None:
    """One step of the recipe's loss gives every parameter a finite gradient."""
    model = selected.component.build(tiny.train.info).train()
    logits = model(tiny.train.images[:8].float() / 255)
    torch.nn.functional.cross_entropy(logits, tiny.train.labels[:8]).backward()  # type: ignore[no-untyped-call]
    bad = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    demand(not bad, f"no finite gradient for {', '.join(bad[:5])}")
    demand(selected.component.recipe.epochs >= 1, "the recipe has no epochs")


def trains_in_bfloat16(selected: Selected, tiny: Splits) -> None:
    """In what a GPU computes in by default it trains too."""
    with Engine(precision="bfloat16").applied(), autocast(torch.device("cpu")):
        trains(selected, tiny)
