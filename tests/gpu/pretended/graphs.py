"""Training steps as CUDA graphs on a pretended GPU: every replayed step can be captured, and what cannot be is refused.

    python -m tests.gpu.pretended env -u PYTORCH_NO_CUDA_MEMORY_CACHING python -m tests.gpu.pretended.graphs

PyTorch's own code captures; the library answers as the driver does (`captures.cpp`): a wait, a copy of memory that is
not pinned, or memory that is not of the graph's pool spoils the capture.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor, nn

from bench.api import Context, Recipe
from bench.registry import defenses
from bench.training import Batch, Batches, cross_entropy, fit
from tests.gpu.pretended import loops, watch

CUDA = torch.device("cuda")
# What CUDA allows, and what makes a replay another thing than the step: it reads host memory as it is by then.
HAZARDS = (*(what + loops.INSIDE for what in ("copies to the device", "copies to the host")), loops.OUTSIDE)


def _defended(text: str, ctx: Context) -> None:
    loops.of_victim(loops.FEW, ctx, loops.component("defenses", text), "small-cnn")


def _ablation(text: str, ctx: Context) -> None:
    loops.component("defenses", f"{text}:network=cifar:epochs=1").purify(loops.images(loops.FEW), ctx)


# Further ways through a replayed step than those of `loops`.
CASES: dict[str, Callable[[Context], None]] = {
    **{
        f"victims {text}": partial(loops.of_victim, loops.FEW, text=text)
        for text in (
            "small-cnn",
            "small-cnn:random_resized_crop=true:crop_padding=0",
            "timm:model=vit_tiny_patch16_224",
        )
    },
    **{
        f"defenses {text}": partial(_defended, text)
        for text in ("at", "at:norm=l2:eps=0.5", "cutout", "cutmix", "mixup")
    },
    **{f"defenses {text}": partial(_ablation, text) for text in ("vae", "ae")},
    **{
        f"attacks {text}": partial(loops.craft, text + ":surrogate=s-net:batch_size=128", loops.FEW)
        for text in (
            "em:mode=class:max_rounds=2:batches_per_round=2",
            "em:official_order=true:max_rounds=2:batches_per_round=2:steps=1",
            "rem:train_steps=2:steps=1:attacker_steps=0",
            "rem:train_steps=2:steps=1:attacker_steps=1:crop_padding=0:flip=false",
            "rem:train_steps=2:steps=1:attacker_steps=1:random_resized_crop=true:crop_padding=0",
            "tap:surrogate_epochs=1:steps=1:restarts=1:shift=0:flip=false",
        )
    },
}


def _waits_for_host_data(loss: Tensor, batch: Batch) -> Tensor:
    return loss * torch.ones(3).to(CUDA).sum()


def _pinned_data(loss: Tensor, batch: Batch) -> Tensor:
    return loss * torch.ones(3).pin_memory().to(CUDA, non_blocking=True).sum()


def _selects(loss: Tensor, batch: Batch) -> Tensor:
    if not torch.cuda.is_current_stream_capturing():
        return loss  # the size of a selection would be garbage
    return loss + batch.images_01[batch.labels > 4].sum()


def _on_another_stream(loss: Tensor, batch: Batch) -> Tensor:
    with torch.cuda.stream(torch.cuda.Stream()):
        return loss + torch.ones(2**22, device=CUDA).sum()


# What a step may not do, on top of a plain loss.
REFUSED: dict[str, Callable[[Tensor, Batch], Tensor]] = {
    "a value read": lambda loss, batch: loss * loss.item(),
    "a decision by a value": lambda loss, batch: loss if loss > 0 else -loss,
    "data of the host": _waits_for_host_data,
    "data of the host, not waited for": lambda loss, batch: loss * torch.ones(3).to(CUDA, non_blocking=True).sum(),
    "a tensor of a list": lambda loss, batch: loss * torch.tensor([1.0, 2.0], device=CUDA).sum(),
    "a copy to the host": lambda loss, batch: loss + loss.detach().cpu().to(CUDA),
    "a shape that depends on values": _selects,
    "a wait for the device": lambda loss, batch: (torch.cuda.synchronize(), loss)[1],
    "a new generator": lambda loss, batch: (
        loss * torch.rand((), device=CUDA, generator=torch.Generator(CUDA).manual_seed(0))
    ),
    "memory on another stream": _on_another_stream,
    "a draw on the CPU": lambda loss, batch: loss * float(torch.rand(())),
}


def _another_thread_waits(loss: Tensor, batch: Batch) -> Tensor:
    """As the one that feeds images from host memory does, for a copy of its own."""
    copied = torch.cuda.Stream().record_event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(copied.synchronize).result()
    return loss


def engine_of(work: Callable[[Context], object]) -> tuple[list[object], list[object], list[str]]:
    """The engines of the trainings in `work` under `--engine graph`, the reasons for plain ones, and the hazards."""
    with loops.context("graph") as ctx:
        watch.reset()
        work(ctx)
        reasons = [value for name, value in ctx.logs.items() if name.endswith(".engine_reason")]
        return loops.chosen(ctx), reasons, [what for what in HAZARDS if watch.counts().get(what)]


def _train(offence: Callable[[Tensor, Batch], Tensor], ctx: Context) -> None:
    """Two epochs of a linear network, with the offence in its loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).to(CUDA)
    batches = Batches(loops.images(loops.FEW), CUDA, loops.BATCH, ctx.generator("order"))
    plain = cross_entropy(model)
    fit(model, batches, lambda batch: offence(plain(batch), batch), Recipe(epochs=2), ctx, replayable=True)


def streams_of_a_training() -> int:
    """Number of streams that the plain steps of a replayed training run on, epoch after epoch."""
    seen = set()

    def note(loss: Tensor, batch: Batch) -> Tensor:
        seen.add(torch.cuda.current_stream().stream_id)
        return loss

    engines, *_ = engine_of(partial(_train, note))
    assert engines == ["graph"]
    return len(seen - {torch.cuda.default_stream().stream_id})


def report() -> dict[str, object]:
    """The engines of all cases, and why what cannot be captured was not."""
    watch.believe_what_is_on_the_device()
    return {
        "cases": {name: engine_of(work) for name, work in CASES.items()},
        "declared": [name for name in defenses if getattr(defenses[name].cls, "replayable", False) is True],
        "refused": {name: engine_of(partial(_train, offence)) for name, offence in REFUSED.items()},
        "pinned": engine_of(partial(_train, _pinned_data)),
        "allowed": engine_of(partial(_train, _another_thread_waits)),
        "streams": streams_of_a_training(),
    }


if __name__ == "__main__":
    print(json.dumps(report()))
