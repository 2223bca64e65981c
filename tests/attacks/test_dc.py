"""DeepConfuse: the second-order step, the rounds, and a poison that takes."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.dc import Dc, add_noise, ascend
from attacks.dc.networks import NoiseGenerator, five_convolutions
from bench.api import DataInfo, ImageSet, Recipe
from bench.errors import UserError
from bench.training import Batch, Batches, accuracy, fit, to_float
from bench.training import cross_entropy as plain_loss
from bench.training.surrogates import build_surrogate, surrogate_layers

INFO = DataInfo("waves", 4, (3, 16, 16))
QUICK = {"rounds": 2, "epochs": 1, "batch_size": 20, "surrogate": "s-net", "width": 2}


def waves(count: int) -> ImageSet:
    """Noisy waves of four directions and any phase: a convolution finds the class, and noise can turn a wave."""
    generator = torch.Generator().manual_seed(11)
    labels = torch.arange(count) % 4
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    angle, phase = (labels * torch.pi / 4)[:, None, None], torch.rand(count, 1, 1, generator=generator)
    wave = torch.cos(2 * torch.pi * ((angle.cos() * x + angle.sin() * y) / 5 + phase))
    images = 128 + 10 * torch.randn(count, 3, 16, 16, generator=generator) + 10 * wave[:, None]
    return ImageSet(images.clamp(0, 255).round().to(torch.uint8), labels, INFO)


def batch_of(train: ImageSet, dtype: torch.dtype = torch.float32) -> Batch:
    return Batch(to_float(train.images).to(dtype), train.labels, torch.arange(len(train)), 0)


def clean_loss(generator: nn.Module, surrogate: nn.Module, batch: Batch, eps: float, lr: float) -> float:
    """Of a copy of the classifier that really takes the step."""
    stepped = copy.deepcopy(surrogate)
    with torch.no_grad():
        noisy = (batch.images_01 + eps * generator(batch.images_01)).clamp(0, 1)
    cross_entropy(stepped(noisy), batch.labels).backward()
    with torch.no_grad():
        for weight in stepped.parameters():
            weight -= lr * weight.grad
        return float(cross_entropy(stepped(batch.images_01), batch.labels))


def test_a_step_follows_the_gradient_through_the_classifiers_step() -> None:
    """Finite differences of the loss of a classifier that really takes the step."""
    torch.manual_seed(0)
    batch = batch_of(waves(8), torch.float64)
    # Smooth, so that differences are those of the gradient.
    generator = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()).double()
    surrogate = nn.Sequential(
        nn.Conv2d(3, 4, 5, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 4)
    ).double()
    eps, lr = 0.1, 0.7
    before = copy.deepcopy(generator)
    found = ascend(generator, torch.optim.SGD(generator.parameters(), lr=1.0), surrogate, batch, eps, lr)
    assert float(found) == pytest.approx(clean_loss(before, surrogate, batch, eps, lr), rel=1e-9)
    moved = [(after - start).detach() for after, start in zip(generator.parameters(), before.parameters(), strict=True)]
    directions = torch.Generator().manual_seed(1)
    for _ in range(3):
        along = [torch.randn(m.shape, generator=directions, dtype=torch.float64) for m in moved]
        ends = []
        for sign in (1, -1):
            shifted = copy.deepcopy(before)
            with torch.no_grad():
                for weight, direction in zip(shifted.parameters(), along, strict=True):
                    weight += sign * 1e-5 * direction
            ends.append(clean_loss(shifted, surrogate, batch, eps, lr))
        expected = sum(float((m * direction).sum()) for m, direction in zip(moved, along, strict=True))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(expected, rel=1e-4), "up the loss"


def test_a_step_leaves_the_classifier_alone_and_raises_its_clean_loss() -> None:
    torch.manual_seed(0)
    batch = batch_of(waves(20))
    generator, surrogate = NoiseGenerator(3, 4).train(), surrogate_layers("s-net", INFO).train()
    adam = torch.optim.Adam(generator.parameters(), lr=1e-2)
    state = copy.deepcopy(surrogate.state_dict())
    losses = [float(ascend(generator, adam, surrogate, batch, 8 / 255, 0.5)) for _ in range(12)]
    assert all(torch.equal(state[name], value) for name, value in surrogate.state_dict().items())
    assert max(losses[-3:]) > losses[0] + 0.1


def test_the_classifier_learns_from_the_network_of_the_round_before(make_context, monkeypatch) -> None:
    """Algorithm 2: within a round the noise that is trained on stays; every round has a new classifier."""
    trained, starts = [], []

    def add(generator: nn.Module, images_01: Tensor, eps: float) -> Tensor:
        if not torch.is_grad_enabled():
            trained.append(generator.last[0].weight.detach().clone())
        return add_noise(generator, images_01, eps)

    def climb(generator: nn.Module, optimizer: object, surrogate: nn.Module, *rest: object) -> Tensor:
        starts.append(surrogate[0][0].weight.detach().clone())
        with torch.no_grad():
            generator.last[0].weight += 1
        return torch.zeros(())

    monkeypatch.setattr("attacks.dc.add_noise", add)
    monkeypatch.setattr("attacks.dc.ascend", climb)
    Dc(**QUICK | {"epochs": 2}).poison(waves(40), make_context())
    rounds = [trained[:4], trained[4:]]
    assert all(torch.equal(one, steps[0]) for steps in rounds for one in steps)
    assert torch.allclose(rounds[1][0], rounds[0][0] + 4)
    assert not any(torch.equal(one, other) for n, one in enumerate(starts) for other in starts[:n])


def test_noise_is_a_function_of_the_image_within_the_budget(make_context) -> None:
    train = waves(41)  # a last batch of one image
    ctx = make_context()
    poisoned = Dc(**QUICK).poison(train, ctx)
    levels = (poisoned.images.int() - train.images.int()).abs()
    assert 0 < levels.max() <= 8
    assert len(ctx.logs["clean_losses"]) == 2
    twice = train.take(torch.cat([torch.arange(40), torch.tensor([0])]))
    same = Dc(**QUICK).poison(twice, make_context()).images
    assert torch.equal(same[0], same[40])


@pytest.mark.parametrize("side", [9, 16, 32])
def test_networks_take_other_sizes(side: int) -> None:
    images = torch.rand(3, 1, side, side)
    noise = NoiseGenerator(1, 2)(images)
    assert noise.shape == images.shape
    assert noise.abs().max() <= 1
    assert five_convolutions(1, 7)(images).shape == (3, 7)
    assert sum(weight.numel() for weight in five_convolutions(3, 10).parameters()) == 390_666


def test_bad_settings(make_context, random_set) -> None:
    for wrong in ({"rounds": 0}, {"generator_lr": 0}, {"eps": 8}, {"batch_size": 1}, {"width": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Dc(**wrong)
    with pytest.raises(ValueError, match="surrogate must be five-conv or s-net, got 'resnet18'"):
        Dc(surrogate="resnet18")
    with pytest.raises(UserError, match="at least 2 classes"):
        Dc(**QUICK).poison(random_set(8, 1), make_context())


@pytest.mark.long
def test_a_victim_fails_on_clean_images(make_context) -> None:
    images = waves(240)
    train, test = images.take(torch.arange(120)), images.take(torch.arange(120, 240))
    attack = Dc(rounds=10, epochs=4, batch_size=20, lr=0.2, generator_lr=1e-2, surrogate="s-net", width=4)
    poisoned = attack.poison(train, make_context(1))
    recipe = Recipe(epochs=10, batch_size=20, lr=0.05, crop_padding=0, flip=False)

    def judged(given: ImageSet) -> float:
        ctx = make_context(1)
        model = build_surrogate("s-net", INFO, ctx)
        fit(model, Batches.of_recipe(given, recipe, ctx), plain_loss(model), recipe, ctx)
        return accuracy(model, test, ctx.device)

    assert judged(train) > 0.95
    assert judged(poisoned) < 0.75
