import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from attacks.pil import Pil, _linear
from bench.api import ImageSet, Recipe, perturbation
from bench.errors import UserError
from bench.training import Batches, accuracy, fit
from bench.training import cross_entropy as plain_loss
from bench.training.surrogates import build_surrogate

EPS = 8 / 255
QUICK = Pil(surrogate_epochs=60, batch_size=40, lr=0.01)


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 2**31))
def test_the_gradient_is_that_of_the_papers_loss(classes: int, balance: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, images, delta = (torch.randn(n, 12, generator=generator) for n in (classes, 5, 5))
    labels = torch.randint(classes, (5,), generator=generator)
    delta.requires_grad_()
    answer = ((images - delta) @ weight.T).softmax(1)
    divergence = (answer * (answer * classes).clamp(min=1e-30).log()).sum()
    loss = balance * cross_entropy(delta @ weight.T, labels, reduction="sum") + (1 - balance) * divergence
    (expected,) = torch.autograd.grad(loss, delta)
    wanted = one_hot(labels, classes).float()
    found = Pil(balance=balance)._gradient(delta.detach(), images @ weight.T, wanted, weight)
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_noise_is_of_its_class_and_the_image_of_none(learnable_set, make_context, separability) -> None:
    train, ctx = learnable_set(count=240), make_context()
    before = train.images.clone()
    poisoned = QUICK.poison(train, ctx)
    difference = _difference(poisoned, train)
    assert difference.abs().max() == 8
    assert ctx.logs["surrogate_clean_accuracy"] > 0.9
    assert ctx.logs["noise_accuracy"] > 0.95
    assert ctx.logs["poison_entropy"] > 0.5
    assert separability(poisoned, train) >= 0.95
    assert torch.equal(train.images, before)
    assert torch.equal(poisoned.labels, train.labels)


def test_what_is_published_is_the_image_minus_the_noise(learnable_set, make_context, monkeypatch) -> None:
    train = learnable_set(count=20)
    monkeypatch.setattr(Pil, "_delta", lambda self, images, *rest: torch.full_like(images.flatten(1), 3 / 255))
    assert (_difference(QUICK.poison(train, make_context()), train) == -3).all()


def test_a_victim_fails_on_clean_images(learnable_set, make_context) -> None:
    train, ctx = learnable_set(count=400, pattern_levels=1.5, noise_levels=10), make_context(scope="victim")
    poisoned = QUICK.poison(train, make_context())
    found = []
    for seen in (train, poisoned):
        victim = build_surrogate("s-net", train.info, ctx)
        batches = Batches(seen, ctx.device, 30, ctx.generator("batch-order"))
        fit(victim, batches, plain_loss(victim), Recipe(epochs=12, lr=0.1, schedule="one-cycle"), ctx)
        found.append(accuracy(victim, learnable_set(count=400, pattern_levels=1.5, noise_levels=10), ctx.device))
    assert found[0] > 0.9
    assert found[1] < 0.5


def test_steps_are_the_papers(learnable_set) -> None:
    train = learnable_set(count=6)
    images, labels = train.images.float() / 255, train.labels
    weight = torch.randn(4, 768, generator=torch.Generator().manual_seed(0))
    once = Pil(steps=1)._delta(images, labels, weight, torch.zeros_like(images))
    assert once.abs().unique().tolist() == pytest.approx([8 / 2550])
    assert (Pil().steps, Pil().eps) == (30, EPS)
    assert Pil()._delta(images, labels, weight, torch.zeros_like(images)).abs().max() == pytest.approx(EPS)


def test_the_recipe_is_the_papers() -> None:
    recipe = Pil()._recipe
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("sgd", 0.003, 0.9, 0)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule, recipe.clip_grad_norm) == (512, 30, "cosine-epoch", None)


def test_the_surrogate_has_no_bias(learnable_set) -> None:
    assert [tuple(p.shape) for p in _linear(learnable_set().info).parameters()] == [(4, 768)]


def test_the_chunk_size_does_not_matter(learnable_set, make_context, monkeypatch) -> None:
    train = learnable_set(count=23)
    whole = QUICK.poison(train, make_context()).images
    monkeypatch.setattr(perturbation, "_ENTRIES_AT_ONCE", 5 * 768)
    again = QUICK.poison(train, make_context()).images
    assert (whole != again).double().mean() < 0.01


def test_the_seed_decides(learnable_set, make_context) -> None:
    train = learnable_set(count=30)
    one, again, other = (QUICK.poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_gray_odd_images_saturated_images_and_a_last_batch_of_one(learnable_set, make_context) -> None:
    train = learnable_set(41, 2, shape=(1, 9, 14), labels=torch.tensor([0] * 37 + [1] * 4))
    train.images[0], train.images[1] = 0, 255
    difference = _difference(Pil(batch_size=40, surrogate_epochs=2).poison(train, make_context()), train)
    assert difference[0].min() >= 0
    assert difference[1].max() <= 0
    assert 0 < difference.abs().max() <= 8


def test_one_class_is_refused(learnable_set, make_context) -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        Pil().poison(learnable_set(labels=torch.zeros(120, dtype=torch.int64)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 0.0}, "eps is an L-inf radius"),
        ({"steps": 0}, "steps must be"),
        ({"lr": math.nan}, "lr must be"),
        ({"balance": 1.5}, r"balance is a weight in \[0, 1\], got 1.5"),
        ({"poison_rate": 0.0}, "poison_rate"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pil(**settings)
