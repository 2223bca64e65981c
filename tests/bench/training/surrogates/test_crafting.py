import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from attacks.em import Em
from attacks.tap import Tap
from bench.errors import MachineError
from bench.training import TrainingDivergedError, accuracy
from bench.training.surrogates import crafting
from bench.training.surrogates.crafting import (
    Passes,
    check_eps,
    check_finite,
    check_positive,
    chunks,
    empty_noise,
    judge,
    report,
)

CPU = torch.device("cpu")


class _ByBrightness(torch.nn.Module):
    """Class 1 for bright images, class 0 for dark ones."""

    def forward(self, images_01: torch.Tensor) -> torch.Tensor:
        bright = 10 * (images_01.mean((1, 2, 3)) - 0.5)
        return torch.stack([-bright, bright], dim=1)


def test_chunks_cover_every_position_once() -> None:
    rows = [i for part in chunks(200, (3, 32, 32), CPU) for i in range(part.start, part.stop)]
    assert rows == list(range(200))
    assert next(chunks(200, (3, 32, 32), CPU)) == slice(0, 64)
    assert next(chunks(3, (3, 4000, 4000), CPU)) == slice(0, 1), "never empty"


def test_limits_count_all_kinds_of_passes_and_the_reserve() -> None:
    passes = Passes(max_passes=100, forward=30, gradient=30, training=30)
    assert not passes.spent()
    assert passes.spent(reserve=10)
    passes.forward += 10
    assert passes.spent()
    assert not Passes(forward=10**9).spent(), "no limit"
    assert not Passes(max_seconds=1e6).spent()


def test_judging_equals_hand_computed_sums_and_restores_the_mode() -> None:
    model = _ByBrightness().train()
    images = torch.stack([torch.full((3, 4, 4), value) for value in (0.1, 0.9, 0.9)])
    loss, right = judge(model, images, torch.tensor([0, 1, 0]))
    assert right == 2
    assert float(loss) == pytest.approx(2 * math.log1p(math.exp(-8)) + math.log1p(math.exp(8)), rel=1e-5)
    assert model.training


def test_the_report_says_what_the_surrogate_makes_of_both_sets(smooth_set, make_context) -> None:
    train, ctx = smooth_set(count=10, classes=2), make_context()
    model = _ByBrightness()
    report(model, train, replace(train, images=255 - train.images), ctx)
    accuracies = ctx.logs["surrogate_clean_accuracy"], ctx.logs["surrogate_poison_accuracy"]
    assert accuracies == (accuracy(model, train, CPU), accuracy(model, replace(train, images=255 - train.images), CPU))
    assert accuracies[0] != accuracies[1]


def test_noise_starts_at_zero_in_float32(smooth_set) -> None:
    noise = empty_noise(smooth_set(count=5), CPU)
    assert (noise.shape, noise.dtype, float(noise.abs().max())) == ((5, 3, 32, 32), torch.float32, 0.0)


def test_messages_name_value_and_remedy() -> None:
    with pytest.raises(ValueError, match="at least 1/255 and below 1, got 8"):
        check_eps(8)
    with pytest.raises(ValueError, match="lr must be a finite number > 0, got inf"):
        check_positive(steps=None, lr=math.inf)
    with pytest.raises(TrainingDivergedError, match="loss became nan in round 3; lower lr"):
        check_finite(math.nan, "in round 3", "lower lr")
    check_eps(1 / 255)
    assert crafting.check_finite(1.0, "", "") is None


@pytest.mark.parametrize(
    ("attack", "copies"),
    [(Em(), 2), (Em(max_rounds=1), 1), (Em(mode="class"), 0), (Tap(), 2), (Tap(restarts=1), 1)],
)
def test_noise_beyond_the_machines_memory_is_refused_before_any_work(random_set, monkeypatch, attack, copies) -> None:
    train = random_set(40, shape=(3, 32, 32))
    needed = copies * 4 * train.images.numel()
    memory = SimpleNamespace(total=needed)
    monkeypatch.setattr("bench.training.surrogates.crafting.psutil.virtual_memory", lambda: memory)
    attack.check_fit(train)
    memory.total = needed - 1
    if copies:
        with pytest.raises(MachineError, match=rf"holds {copies} x float32 noise for 40 images: .* the machine .* has"):
            attack.check_fit(train)
