"""Expected seconds of the steps that take the time, computed without a GPU: operations, bytes and launches.

    python -m gpu.floor

Every step runs once on tensors without data. Each operation takes the longest of: its floating-point operations at
40 % of the dense bfloat16 peak, its bytes (everything that it reads and writes) at 80 % of the memory bandwidth, and a
kernel's least time. A replayed step takes their sum at most (a batch of 128 is read again from the cache), and at least
the larger of the two floors, arithmetic and memory. A plain step also takes 6 us of the host for every launch: it is
launch-bound if that exceeds the sum, and perhaps if it exceeds the floors. Computed, not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench.api import Budget, Context, DataInfo
from bench.api.engine import Engine
from bench.registry import attacks, defenses, victims
from bench.select.spec import select
from bench.training import Batch, Stepper, autocast, cross_entropy
from bench.training.pgd import pgd

INFO = DataInfo("none", 10, (3, 32, 32))
OPERATIONS_PER_SECOND = 0.4 * 989e12  # H100 and H200, by the maker's data sheet
BYTES_PER_SECOND = {"H100": 0.8 * 3.35e12, "H200": 0.8 * 4.8e12}
HOST_SECONDS, KERNEL_SECONDS = 6e-6, 1.5e-6  # of a launch, and of the shortest kernel in a graph


_WITHOUT_KERNEL = ("empty", "new_empty", "_unsafe_view", "detach", "lift_fresh")


@dataclass
class Work:
    """Of a step.

    Attributes:
        launches: operations that run kernels.
        operations: floating-point, of convolutions and matrix products; a multiply-add is two.
        bytes: read and written, each operation by itself.
        seconds: of its kernels one after the other, on an H100.
    """

    launches: float = 0
    operations: float = 0
    bytes: float = 0
    seconds: float = 0

    def add(self, operations: float, size: float, kernels: int) -> None:
        """An operation."""
        self.launches += kernels
        self.operations += operations
        self.bytes += size
        rate = size / BYTES_PER_SECOND["H100"]
        self.seconds += max(operations / OPERATIONS_PER_SECOND, rate, kernels * KERNEL_SECONDS)

    def times(self, count: float) -> Work:
        """The same work several times."""
        return Work(self.launches * count, self.operations * count, self.bytes * count, self.seconds * count)

    def __add__(self, other: Work) -> Work:
        return Work(
            self.launches + other.launches,
            self.operations + other.operations,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )

    @property
    def plain_seconds(self) -> float:
        """Without a graph: the host may be slower than the kernels."""
        return max(self.seconds, HOST_SECONDS * self.launches)

    @property
    def launch_bound(self) -> str:
        """`yes`, `perhaps` or `no`."""
        host = HOST_SECONDS * self.launches
        if host > self.seconds:
            return "yes"
        floors = self.operations / OPERATIONS_PER_SECOND, self.bytes / BYTES_PER_SECOND["H100"]
        return "perhaps" if host > max(floors) else "no"


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = [r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns]
        name = func.overloadpacket.__name__
        if any(views) or func.namespace != "aten" or name.startswith(_WITHOUT_KERNEL):
            return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        count = flop_registry.get(func.overloadpacket)
        operations = count(*args, **(kwargs or {}), out_val=result) if count else 0
        kernels = sum(args[-1][:2]) if name == "convolution_backward" else 1
        self.work.add(operations, sum(t.numel() * t.element_size() for t in tensors), kernels)
        return result


def steps() -> dict[str, Work]:
    """Every step, by name; REM's is one of its 5,000, TAP's and EM's gradients are for 2,048 images."""
    with TemporaryDirectory() as scratch, Engine(precision="bfloat16").applied(), FakeTensorMode():
        ctx = Context(0, torch.device("cpu"), Path(scratch))
        victim = select(victims, "resnet18")[0].component
        network = victim.build(INFO)
        adversarial = select(defenses, "at")[0].component
        rem = select(attacks, "rem")[0].component
        gradient = {size: _counted(partial(_gradient, network, size)) for size in (128, 640, 2048)}
        training = {size: _training(network, cross_entropy(network), size, victim.recipe) for size in (128, 512)}
        at = _training(
            network,
            lambda b: adversarial.batch_loss(network, b.images_01, b.labels, ctx),
            128,
            adversarial.change_recipe(victim.recipe),
        )
        visits, attacked = rem.steps, rem.attacker_steps
        return {
            "ResNet-18, batch 128": training[128],
            "ResNet-18, batch 512 (and EM's surrogate)": training[512],
            "D-VAE, batch 128": _dvae(),
            "AT, ten steps, batch 128": at,
            "EM and TAP, one gradient of 2,048 images": gradient[2048],
            "REM, batch 128, samples apart": gradient[128].times(visits * rem.samples * (attacked + 1))
            + gradient[128].times(attacked)
            + training[128],
            "REM, batch 128, samples together": gradient[640].times(visits * (attacked + 1))
            + gradient[128].times(attacked)
            + training[128],
        }


def _counted(run: Callable[[], object]) -> Work:
    counter = Counter()
    with counter:
        run()
    return counter.work


def _batch(size: int) -> Batch:
    labels = torch.zeros(size, dtype=torch.int64)
    return Batch(torch.rand(size, *INFO.shape).to(memory_format=torch.channels_last), labels, labels, 100)


def _training(model: nn.Module, loss: Callable[[Batch], Tensor], size: int, recipe: Any) -> Work:
    # Without clipping: a handful of launches on a GPU, two for every parameter on the CPU.
    stepper = Stepper([{"params": list(model.parameters())}], replace(recipe, clip_grad_norm=None), 1)
    batch = _batch(size)

    def step() -> None:
        with autocast(torch.device("cpu")):
            value = loss(batch)
        stepper.update(value)

    model.train()
    step()  # makes the optimizer's state
    return _counted(step)


def _gradient(model: nn.Module, size: int) -> Tensor:
    batch, budget = _batch(size), Budget("linf", 8 / 255)
    return pgd(model, batch.images_01, batch.labels, direction="maximize", budget=budget, step_size=0.01, steps=1)


def _dvae() -> Work:
    component: Any = select(defenses, "dvae")[0].component
    network = component.work(INFO, 1).network()

    def loss(batch: Batch) -> Tensor:  # of about as many operations as the real one
        return torch.stack([part.float().square().mean() for part in network(batch.images_01)]).sum()

    return _training(
        network, loss, component.batch_size, replace(select(victims, "resnet18")[0].component.recipe, optimizer="adam")
    )


def table(works: dict[str, Work]) -> str:
    """All steps as Markdown."""
    lines = [
        "| step | launches | TFLOP | GB | arithmetic, ms | memory, ms (H100 / H200) | launches, ms | plain, ms "
        "| replayed, ms | launch-bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, work in works.items():
        memory = " / ".join(f"{1e3 * work.bytes / rate:,.1f}" for rate in BYTES_PER_SECOND.values())
        lines.append(
            f"| {name} | {work.launches:,.0f} | {work.operations / 1e12:,.2f} | {work.bytes / 1e9:,.1f} "
            f"| {1e3 * work.operations / OPERATIONS_PER_SECOND:,.1f} | {memory} "
            f"| {1e3 * HOST_SECONDS * work.launches:,.1f} | {1e3 * work.plain_seconds:,.1f} "
            f"| {1e3 * work.seconds:,.1f} | {work.launch_bound} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(steps()))
