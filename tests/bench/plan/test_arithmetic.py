"""Estimates by arithmetic, against the counts of the papers' settings and against hand-computed ones."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from attacks.em import Em
from attacks.rem import Rem
from attacks.tap import Tap
from bench.api import DataInfo
from bench.cli.forecast import print_plan
from bench.datasets import loading
from bench.datasets.splits import Splits
from bench.plan import arithmetic
from bench.plan.arithmetic import Arithmetic, forward_operations, pass_seconds
from bench.plan.plan import Plan, make_plan
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.stages.jobs import Job
from bench.stages.session import Session
from bench.store.artifacts import Store
from defenses.adversarial_training import AdversarialTraining
from defenses.dvae import Dvae, PlainAutoencoder, RateLimitedVae
from victims.fixed_size import build_fitted
from victims.timm_victims import TimmVictim

CIFAR = DataInfo("cifar10", 10, (3, 32, 32))
COUNT = 50_000


@pytest.mark.parametrize(
    ("attack", "passes"),
    [
        (Em(), 413),
        (Em(mode="class", max_rounds=10), 9),
        (Rem(), 15_500),
        (Tap(), 4_120),
        (Tap(restarts=1), 620),
    ],
)
def test_attacks_count_the_passes_of_their_papers(attack, passes: float) -> None:
    assert attack.work(CIFAR, COUNT).passes == pytest.approx(passes, rel=0.1)


@pytest.mark.parametrize("attack", [Em(max_passes=1000), Rem(max_seconds=5), Tap(max_passes=9)])
def test_an_attack_with_a_limit_of_its_own_is_not_counted(attack) -> None:
    assert attack.work(CIFAR, COUNT) is None


@pytest.mark.parametrize(("defense", "trainings"), [(Dvae(), 1.52), (RateLimitedVae(), 0.6), (PlainAutoencoder(), 0.7)])
def test_purifiers_cost_as_many_trainings_as_their_pages_say(defense, trainings: float) -> None:
    work = defense.work(CIFAR, COUNT)
    victim = TimmVictim(model="resnet18").build(CIFAR)
    training = 60 * 3 * forward_operations(victim, CIFAR)
    assert work.passes * forward_operations(work.network(), CIFAR) / training == pytest.approx(trainings, rel=0.1)


def test_a_step_of_adversarial_training_costs_seven_to_eight_plain_ones() -> None:
    assert 7 < AdversarialTraining().step_passes / 3 < 8
    assert AdversarialTraining(eps=0).step_passes == 3


def test_operations_are_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 32 * 32, 10))
    assert forward_operations(network, CIFAR) == 2 * (32 * 32 * 8 * 27 + 8 * 32 * 32 * 10)
    assert network.training


@pytest.mark.parametrize(
    "name",
    [
        "beit_base_patch16_224",
        "cait_xxs24_224",
        "convit_tiny",
        "levit_128s",
        "pit_ti_224",
        "swin_tiny_patch4_window7_224",
        "test_convnext",
        "test_efficientnet",
        "test_resnet",
        "test_vit",
        "vgg11",
        "xcit_nano_12_p8_224",
    ],
)
def test_operations_of_every_kind_of_network_are_counted(name: str) -> None:
    with torch.device("meta"):
        network = build_fitted(name, CIFAR.shape, {"num_classes": 10})
        assert forward_operations(network, CIFAR) > 1e6
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_pass_is_measured_and_leaves_random_numbers_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    assert 0 < pass_seconds(network, CIFAR, torch.device("cpu")) < 1


@pytest.fixture
def second_a_pass(monkeypatch) -> list[str]:
    """Every network takes a second a pass; returns those that were measured."""
    measured: list[str] = []
    monkeypatch.setattr(arithmetic, "pass_seconds", lambda network, *rest: measured.append(repr(network)) or 1.0)
    return measured


def _planned(tmp_path: Path, attacks: str, defenses: str) -> tuple[Plan, Splits]:
    dataset = "shapes:train=64:test=32"
    matrix = make_matrix([Settings("demo", dataset, attacks, defenses, "linear:epochs=2,small-cnn:epochs=3", None)], ())
    splits = loading.load(dataset, tmp_path)
    session = Session(dataset, splits.digests, tmp_path, tmp_path, "cpu")
    return make_plan(matrix, splits, Store(tmp_path, create=True), session), splits


def _seconds(plan: Plan, splits: Splits) -> dict[str, float | None]:
    estimate = Arithmetic(plan, splits)

    def name(job: Job) -> str:
        cell = next(cell for cell in plan.cells if cell.jobs[job.stage] == job.key)
        acting = {"poison": cell.attack, "purify": cell.defense, "train": cell.victim}[job.stage].name
        return f"{job.stage} {acting}" + (f" {cell.defense.name}" if job.defense else "")

    return {name(job): estimate.seconds(job) for job in plan.jobs.values()}


def test_jobs_take_their_passes_times_the_rate(tmp_path, second_a_pass) -> None:
    seconds = _seconds(*_planned(tmp_path, "lsp,tap,tap+ops", "iss-gray,vae:epochs=2,at"))
    tap = 64 * (6 * 3 + 8 * 2)
    assert seconds["poison lsp"] == seconds["poison none"] == seconds["purify iss-gray"] == seconds["purify at"] == 0
    assert seconds["poison tap"] == seconds["poison tap+ops"] == tap
    assert seconds["purify vae"] == 64 * (2 * 3 + 1)
    after_each_epoch = 32 + 64
    assert seconds["train linear"] == 2 * (64 * 3 + after_each_epoch)
    assert seconds["train small-cnn at"] == 3 * (64 * (3 + 2 * 2) + after_each_epoch)
    assert len(second_a_pass) == len(set(second_a_pass)) == 4, "each network is measured once"


def test_poisoning_a_subset_costs_its_share(tmp_path, second_a_pass) -> None:
    seconds = _seconds(*_planned(tmp_path, "tap:poison_rate=0.25:craft_on=subset", "none"))
    assert seconds["poison tap"] == 16 * (6 * 3 + 8 * 2)


@dataclass(frozen=True)
class _Silent:
    """A plug-in that says nothing about its work."""

    def purify(self, train, ctx):
        return train


def test_a_component_that_says_nothing_is_not_guessed(tmp_path, second_a_pass) -> None:
    plan, splits = _planned(tmp_path, "none", "iss-gray")
    cells = [replace(cell, defense=replace(cell.defense, component=_Silent())) for cell in plan.cells]
    estimate = Arithmetic(replace(plan, cells=cells), splits)
    purify = next(job for job in plan.jobs.values() if job.stage == "purify")
    assert estimate.seconds(purify) is None


class _Bad(nn.Module):
    """A network that fails when it is used, or from which no gradient comes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.ones(1))

    def forward(self, images):
        if self.how == "raises":
            raise RuntimeError("my forward")
        if self.how == "starves" and self.training:
            raise MemoryError
        return images.flatten(1)[:, :4] * (self.weight.detach() if self.how == "detaches" else self.weight)


def _build(how: str) -> nn.Module:
    if how == "exits":
        raise SystemExit(3)
    return _Bad(how)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("raises", "RuntimeError: my forward"),
        ("starves", "MemoryError: out of memory; close other programs, or use less data"),
        ("detaches", "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"),
        ("exits", "SystemExit: 3"),
    ],
)
def test_a_component_that_fails_is_not_timed_and_the_plan_says_why(tmp_path, capsys, monkeypatch, how, why) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    plan, splits = _planned(tmp_path, "none", "none")
    cells = [cell for cell in plan.cells if cell.victim.name == "linear"]
    monkeypatch.setattr(type(cells[0].victim.component), "build", lambda self, info: _build(how))
    wanted = {key for cell in cells for key in cell.jobs.values()}
    plan = replace(plan, cells=cells, jobs={key: job for key, job in plan.jobs.items() if key in wanted})
    print_plan(plan, Store(tmp_path), splits, each_job=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("train") and line.endswith("not timed yet")]
    assert lines[-1] == f"cannot estimate train linear:epochs=2 on none / none, seed 0: {why}"
    assert "3 jobs left, estimating" in lines[-2]


def test_an_attack_whose_work_raises_is_not_timed(tmp_path, monkeypatch) -> None:
    def broken(self, info, images):
        raise ZeroDivisionError("in work")

    monkeypatch.setattr(Tap, "work", broken)
    plan, splits = _planned(tmp_path, "tap", "none")
    estimate = Arithmetic(plan, splits)
    (job,) = (job for job in plan.jobs.values() if job.component.startswith("tap"))
    assert estimate.seconds(job) is None
    assert estimate.problems == {job.key: "ZeroDivisionError: in work"}
