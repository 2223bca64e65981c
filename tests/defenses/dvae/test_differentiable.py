"""D-VAE as an attacker looks through it: the defense's values, gradients, fixed weights, fresh codes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import ImageSet
from bench.training import to_float
from defenses.dvae import Dvae, DvaeAuto
from defenses.dvae.differentiable import see_through

QUICK = Dvae(network="tiny", epochs=1, batch_size=8, lr=1e-2, embedding_lr_scale=100.0)


@pytest.fixture
def train(smooth_set) -> ImageSet:
    return smooth_set(count=16, shape=(3, 16, 16))


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("rounding", ["nearest", "floor"])
def test_values_are_those_of_the_defense(train, make_context, stages: int, rounding: str) -> None:
    defense = replace(QUICK, latents="mean", stages=stages, rounding=rounding)
    see = defense.fit_differentiable(train, make_context())
    found = see(to_float(train.images), train.labels) * 255
    purified = defense.purify(train, make_context()).images
    assert torch.equal(found.round().byte(), purified)
    assert torch.allclose(found, purified.float(), atol=1e-3), "on 8-bit levels"
    assert not torch.equal(purified, train.images)


def test_labels_count(train, make_context) -> None:
    see = replace(QUICK, latents="mean").fit_differentiable(train, make_context())
    images = to_float(train.images)
    assert not torch.equal(see(images, train.labels), see(images, (train.labels + 1) % 4))


def test_codes_are_drawn_anew_at_each_call_and_the_same_for_a_seed(train, make_context) -> None:
    images = to_float(train.images)

    def calls(seed: int) -> list[Tensor]:
        see = QUICK.fit_differentiable(train, make_context(seed=seed))
        state = torch.get_rng_state()
        found = [see(images, train.labels) for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), state), "the draws are its own"
        return found

    first, second = calls(0)
    assert not torch.equal(first, second)
    assert all(torch.equal(one, other) for one, other in zip((first, second), calls(0), strict=True))
    assert not torch.equal(first, calls(1)[0])


def test_gradients_reach_the_images_and_no_weight(train, make_context, monkeypatch) -> None:
    networks = []
    original = Dvae._purify

    def spied(self, *args):
        purified, trained = original(self, *args)
        networks.extend(trained)
        return purified, trained

    monkeypatch.setattr(Dvae, "_purify", spied)
    see = QUICK.fit_differentiable(train, make_context())
    weights = [[weight.clone() for weight in network.state_dict().values()] for network in networks]
    images = to_float(train.images).requires_grad_()
    (gradient,) = torch.autograd.grad(see(images, train.labels).square().sum(), images)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    assert len(networks) == 2
    assert not any(parameter.requires_grad for network in networks for parameter in network.parameters())
    for network, before in zip(networks, weights, strict=True):
        assert all(torch.equal(*pair) for pair in zip(network.state_dict().values(), before, strict=True))


def test_the_gradient_is_that_of_the_stages_without_rounding() -> None:
    """One stage that estimates half of each image: the image minus that has the gradient 1/2, rounded or clipped."""

    class Half(torch.nn.Module):
        def estimate(self, images_01: Tensor, labels: Tensor, sample: bool) -> Tensor:
            return 0.5 * images_01 - labels.view(-1, 1, 1, 1)

    class Draws:
        def generator(self, purpose: str) -> torch.Generator:
            return torch.Generator().manual_seed(0)

    see = see_through([Half()], True, "nearest", Draws())
    images = torch.rand(2, 1, 4, 4).requires_grad_()
    found = see(images, torch.tensor([0, 7]))  # the second image leaves [0, 1]
    assert torch.allclose(found[0], (127.5 * images[0]).round() / 255)
    assert torch.equal(found[1], torch.ones(1, 4, 4))
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert torch.equal(gradient, torch.full_like(gradient, 0.5))


def test_chosen_caps_are_those_that_the_search_chooses(train, make_context) -> None:
    auto = DvaeAuto(network="tiny", epochs=1, batch_size=8, lr=1e-2, latents="mean", judge_epochs=1, scales="2")
    ctx = make_context(scope="dvae-auto")
    see = auto.fit_differentiable(train, ctx)
    found = (see(to_float(train.images), train.labels) * 255).round().byte()
    assert torch.equal(found, auto.purify(train, make_context(scope="dvae-auto")).images)
    assert ctx.logs["chosen_scale"] == 2
