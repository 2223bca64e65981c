"""EM's noise phase: the shared projected-gradient loop, against naive ones and against the machine's arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from attacks.em.noise import Descent, SampleNoise
from bench.api import Budget, Context, ImageSet
from bench.datasets import loading
from bench.training import to_float
from bench.training.pgd import frozen
from bench.training.surrogates.crafting import Passes
from bench.training.surrogates.networks import SurrogateName, build_surrogate

from .ratio import Run

_EPS, _STEP = 8 / 255, 0.8 / 255
_STEPS = 20
_PLAIN_BATCH = 128  # images at a time in the plain loops


def bench_pgd_resnet18(run: Run) -> None:
    """PGD (EM, 20 steps, ResNet-18); plain: a naive autograd loop."""
    _compare(run, "resnet18", run.size(full=2048 if run.device.type == "cuda" else 16, tiny=2))


def bench_pgd_small(run: Run) -> None:
    """PGD (EM, 20 steps, S-net); plain: a naive autograd loop."""
    _compare(run, "s-net", run.size(full=1024, tiny=2))


def bench_pgd_small_frozen(run: Run) -> None:
    """PGD (EM, 20 steps, S-net); plain: that loop with frozen weights, as released."""
    _compare(run, "s-net", run.size(full=1024, tiny=2), plain_gets_frozen=True)


def _compare(run: Run, name: SurrogateName, count: int, plain_gets_frozen: bool = False) -> None:
    train = loading.load(f"shapes:train={count}:test=10", run.folder).train
    surrogate, noise = crafting(name, train, Context(0, run.device, run.folder))
    plain_model = build_surrogate(name, train.info, Context(0, run.device, run.folder)).eval()
    plain_model.to(memory_format=torch.contiguous_format).requires_grad_(not plain_gets_frozen)
    images, labels = to_float(train.images.to(run.device)).contiguous(), train.labels.to(run.device)
    floor = count * _STEPS * _operations(surrogate, images[:1]) / _operations_per_second(run)
    run.ratio(
        lambda: noise.update(surrogate),
        lambda: plain_pgd(plain_model, images, labels),
        at_least=None if plain_gets_frozen else 1.2,
        count=count,
        note=lambda seconds: f"{count * _STEPS / seconds:.0f} passes/s, {floor / seconds:.0%} of the arithmetic floor",
    )


def crafting(name: SurrogateName, train: ImageSet, context: Context) -> tuple[nn.Module, SampleNoise]:
    """A surrogate, and what EM's noise phase does with it: `noise.update(surrogate)`."""
    descent = Descent(Budget("linf", _EPS), _STEPS, _STEP, Passes())
    return build_surrogate(name, train.info, context).eval(), SampleNoise(train, context, descent)


def plain_pgd(model: nn.Module, images_01: Tensor, labels: Tensor) -> Tensor:
    """Noise as tutorials make it: backward through everything that has a gradient, perturbed images kept in the box."""
    found = []
    for start in range(0, len(images_01), _PLAIN_BATCH):
        clean, targets = images_01[start : start + _PLAIN_BATCH], labels[start : start + _PLAIN_BATCH]
        seen = clean.clone()
        for _ in range(_STEPS):
            seen.requires_grad_()
            model.zero_grad()
            functional.cross_entropy(model(seen), targets).backward()
            moved = seen.detach() - _STEP * seen.grad.sign()
            seen = (clean + (moved - clean).clamp(-_EPS, _EPS)).clamp(0, 1)
        found.append(seen - clean)
    return torch.cat(found)


def _operations(model: nn.Module, image_01: Tensor) -> float:
    """Floating-point operations of a forward pass and the gradient of the image; a multiply-add is two."""
    with frozen(model), FlopCounterMode(display=False) as counter:
        model(image_01.clone().requires_grad_()).sum().backward()
    return float(counter.get_total_flops())


def _operations_per_second(run: Run) -> float:
    """What this machine reaches in a large matrix product, in the precision of the passes: the best of ten."""
    on_gpu = run.device.type == "cuda"
    side = run.size(full=8192 if on_gpu else 2048, tiny=64)
    factor = torch.rand(side, side, device=run.device, dtype=torch.bfloat16 if on_gpu else torch.float32)
    return 2 * side**3 / min(run.time(lambda: factor @ factor) for _ in range(10))
