"""Estimates where nothing was timed: passes through each network, by arithmetic, at a rate measured or assumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.api import DataInfo, FitsOnce, KnowsStep, KnowsWork, Purifies, TrainsDifferently
from bench.api.work import STEP_PASSES
from bench.datasets.splits import Splits
from bench.errors import in_one_line, of_the_machine, told
from bench.plan.plan import Plan, PlannedCell
from bench.select.chain import Chain, part_of
from bench.select.defense_chain import DefenseChain
from bench.stages.crafting import candidates
from bench.stages.jobs import Job
from bench.stages.train import changed_recipe
from bench.training import autocast

_OPERATIONS = {"cpu": 6e9, "cuda": 1e12}  # of a timed step
_ASSUMED = {"cpu": 5e10, "cuda": 1e13}  # operations a second: of a few cores; of small images on a large card
_LARGEST_BATCH = 128
_STEPS = 3
_CURVE_SAMPLE = 500  # training images that are predicted after every epoch, next to the test images

Rate = Callable[[nn.Module, DataInfo, torch.device], float]


class Arithmetic:
    """Seconds that the jobs of a plan should take; networks are built and timed when first asked for.

    Args:
        plan: of the jobs.
        splits: of its data set.
        rate: seconds of a forward pass of one image; by default measured on the device (`pass_seconds`). A device of
            other machines cannot be measured: without a rate, what involves a network has no estimate.

    Attributes:
        problems: error of a component that failed, by the key of its first job.
    """

    def __init__(self, plan: Plan, splits: Splits, rate: Rate | None = None) -> None:
        self._splits, self._session = splits, plan.session
        self._pass_seconds = rate or pass_seconds
        self._unknown = rate is None and self._session.elsewhere
        self._cells = {key: cell for cell in plan.cells for key in cell.jobs.values()}
        self._rates: dict[str, float] = {}
        self._seconds: dict[tuple[str, str, str], float | None] = {}
        self.problems: dict[str, str] = {}

    def seconds(self, job: Job) -> float | None:
        """By the components' own counts; 0 where no network is involved; None if one does not say, or fails."""
        running = (job.stage, job.component, job.defense)
        if running not in self._seconds:
            try:
                self._seconds[running] = self._estimate(job)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # the stage will meet it again, and record a failed cell
                self._seconds[running] = None
                self.problems[job.key] = f"{type(error).__name__}: {in_one_line(of_the_machine(error) or told(error))}"
        return self._seconds[running]

    def _estimate(self, job: Job) -> float | None:
        cell = self._cells[job.key]
        parts = self._training(job, cell) if job.stage == "train" else self._before(job, cell)
        if parts is None or (parts and self._unknown):
            return None
        with self._session.engine.applied():
            return sum(passes * self._rate(network) for network, passes in parts)

    def _before(self, job: Job, cell: PlannedCell) -> list[tuple[Callable[[], nn.Module], float]] | None:
        """Networks of a poison or a purification, with the passes of all images together."""
        acting: Any = cell.attack.component if job.stage == "poison" else cell.defense.component
        if job.stage == "purify" and not isinstance(acting, Purifies):
            return []
        found = []
        for part in [part for _, part in acting.parts] if isinstance(acting, Chain | DefenseChain) else [acting]:
            if job.stage == "purify" and not isinstance(part, Purifies):
                continue
            images = len(self._splits.train)
            if job.stage == "poison" and getattr(part_of(part), "craft_on", "all") == "subset":
                images = candidates(part, self._splits.train)[1]
            work = part.work(self._splits.train.info, images) if isinstance(part, KnowsWork) else None
            if work is None:
                return None
            if work.network is not None:
                found.append((work.network, work.passes * images))
        return found

    def _training(self, job: Job, cell: PlannedCell) -> list[tuple[Callable[[], nn.Module], float]] | None:
        """The victim's network, with the passes of its training and of the predictions after every epoch.

        None for a victim that is not trained in steps: what its fit and its predictions take is in no pass.
        """
        victim: Any = cell.victim.component
        if isinstance(victim, FitsOnce):
            return None
        defense: Any = cell.defense.component if job.defense else None
        recipe = changed_recipe(defense, victim.recipe)
        step: float = STEP_PASSES
        if isinstance(defense, TrainsDifferently):
            if not isinstance(defense, KnowsStep):
                return None
            step = defense.step_passes
        train, test = self._splits.train, self._splits.test
        images = len(train) + recipe.clean_images
        passes = step * images + len(test) + min(_CURVE_SAMPLE, images)
        return [(lambda: victim.build(train.info), recipe.epochs * passes)]

    def _rate(self, make: Callable[[], nn.Module]) -> float:
        with torch.random.fork_rng(devices=[]):
            network = make()
        info = self._splits.train.info
        structure = repr(network)
        if structure not in self._rates:
            self._rates[structure] = self._pass_seconds(network, info, torch.device(self._session.device))
        return self._rates[structure]


def forward_operations(network: nn.Module, info: DataInfo) -> float:
    """Floating-point operations of a forward pass of one image, a multiplication and an addition counted as two.

    Args:
        network: on the CPU; in eval mode meanwhile.
        info: gives the size of an image.
    """
    mode = network.training
    # The counter follows gradients of what a module takes, and fails at a parameter: a class token.
    detached = {name: parameter.detach() for name, parameter in network.named_parameters()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(network.eval(), detached, torch.rand(1, *info.shape))
    network.train(mode)
    return float(counter.get_total_flops())


def assumed_pass_seconds(network: nn.Module, info: DataInfo, device: torch.device) -> float:
    """Seconds of one forward pass of one image at an assumed rate; nothing runs on the device.

    Good for the order of jobs, which needs their relations; never shown.
    """
    return forward_operations(network, info) / _ASSUMED.get(device.type, 1e13)


def pass_seconds(network: nn.Module, info: DataInfo, device: torch.device) -> float:
    """Seconds of one forward pass of one image: a third of its share of a training step, the fastest of a few.

    Args:
        network: on the CPU, untrained.
        info: gives the size of an image.
        device: where to measure; a GPU's first step is not counted.
    """
    operations = STEP_PASSES * forward_operations(network, info)
    batch = int(min(_LARGEST_BATCH, max(4, _OPERATIONS.get(device.type, 1e12) // max(1.0, operations))))
    model = network.to(device).to(memory_format=torch.channels_last).train()
    images = torch.rand(batch, *info.shape, device=device)

    def step() -> float:
        started = time.perf_counter()
        with autocast(device):
            outputs = model(images)
        several: Iterable[Tensor] = (outputs,) if isinstance(outputs, Tensor) else outputs
        torch.stack([output.float().square().mean() for output in several]).sum().backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    step()
    return min(step() for _ in range(_STEPS)) / (STEP_PASSES * batch)
