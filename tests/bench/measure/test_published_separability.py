"""The published separability test against plain PyTorch, and the control with shuffled labels."""

import pytest
import torch
from torch import Tensor, nn

from bench.measure import published_separability as module
from bench.measure.published_separability import published_separability

CPU = torch.device("cpu")
LABELS = torch.arange(120) % 3
CLEAN = torch.full((120, 3, 2, 2), 128, dtype=torch.uint8)  # 36 weights for 120 images


def noise(count: int = 120) -> Tensor:
    return torch.randint(-8, 9, (count, 3, 2, 2), generator=torch.Generator().manual_seed(1))


def both(delta: Tensor, clean: Tensor = CLEAN, labels: Tensor = LABELS) -> tuple[float | None, float | None]:
    mask = torch.ones(len(clean), dtype=torch.bool)
    return published_separability((clean.int() + delta).to(torch.uint8), clean, labels, mask, CPU)


def plainly(delta: Tensor, labels: Tensor) -> float:
    """The authors' procedure on the whole set, from another start."""
    inputs = (delta / 255 - (delta / 255).min()) / ((delta / 255).max() - (delta / 255).min())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(net(inputs), labels)
        loss.backward()
        return loss

    for _ in range(500):
        optimizer.step(closure)
    return float((net(inputs).argmax(1) == labels).double().mean())


def test_patterns_of_a_class_are_fitted_and_the_control_is_not() -> None:
    own, control = both(noise(3)[LABELS])
    assert own == 1.0
    assert control < 0.6


def test_noise_is_fitted_as_by_plain_pytorch_and_no_better_than_the_control() -> None:
    own, control = both(noise())
    assert own == plainly(noise(), LABELS)
    assert own == pytest.approx(control, abs=0.12)
    assert 0.4 < own < 0.7


def test_only_masked_images_count() -> None:
    mask = torch.arange(240) % 2 == 0
    clean, labels, delta = (torch.repeat_interleave(t, 2, dim=0) for t in (CLEAN, LABELS, noise()))
    labels[~mask], delta[~mask] = 7, 100
    found = published_separability((clean.int() + delta).to(torch.uint8), clean, labels, mask, CPU)
    assert found == both(noise())


def test_the_scale_does_not_matter_and_parts_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEPS", 1)
    after_one_step = both(noise())
    assert both(4 * noise()) == after_one_step
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    assert both(noise()) == after_one_step


def test_no_value_where_any_labels_are_fitted_or_the_test_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.arange(120) < 36
    poisoned = (CLEAN.int() + noise()).to(torch.uint8)
    assert published_separability(poisoned, CLEAN, LABELS, mask, CPU) == (None, None)
    mask[36] = True
    assert None not in published_separability(poisoned, CLEAN, LABELS, mask, CPU)
    monkeypatch.setattr(module, "_CPU_WORK", 120 * 36 - 1)
    assert both(noise()) == (None, None)


def test_no_value_without_a_poison_of_one_class_or_of_one_number() -> None:
    assert both(0 * noise()) == (None, None)
    assert both(noise(), labels=0 * LABELS) == (None, None)
    assert both(0 * noise() + 3) == (None, None)  # cannot be scaled to [0, 1]
