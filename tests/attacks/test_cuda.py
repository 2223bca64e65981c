from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from attacks.cuda import Cuda, _blur
from bench.api import DataInfo, ImageSet, Recipe
from bench.training import Batches, accuracy, cross_entropy, fit
from bench.training.surrogates import build_surrogate


def _kernels(attack: Cuda, count: int, seed: int = 0) -> torch.Tensor:
    return attack._kernels(count, torch.Generator().manual_seed(seed))


@given(st.integers(1, 30), st.sampled_from([1, 3, 5]), st.integers(0, 2**31))
def test_a_kernel_has_one_entry_of_1_and_small_ones(count: int, side: int, seed: int) -> None:
    kernels = _kernels(Cuda(kernel=side), count, seed).flatten(1)
    assert ((kernels == 1).sum(1) == 1).all()
    assert ((kernels < 0.3) | (kernels == 1)).all()
    assert (kernels >= 0).all()


def test_the_entry_of_1_is_anywhere() -> None:
    assert set(_kernels(Cuda(), 300).flatten(1).argmax(1).tolist()) == set(range(9))


def test_an_image_is_convolved_channel_by_channel_and_divided_by_its_maximum(smooth_set) -> None:
    train = smooth_set(count=5, shape=(3, 12, 17))
    kernels = _kernels(Cuda(kernel=5), 5)
    blurred = _blur(train.images, kernels)
    for image, kernel, found in zip(train.images, kernels, blurred, strict=True):
        expected = conv2d(image.double()[:, None], kernel[None, None], padding=2)[:, 0]
        assert (found.double() - 255 * expected / expected.max()).abs().max() <= 0.5 + 1e-6
    assert (blurred.amax((1, 2, 3)) == 255).all()


def test_a_class_has_one_kernel_and_classes_differ(smooth_set, make_context) -> None:
    one = smooth_set(count=1).images
    train = ImageSet(one.repeat(8, 1, 1, 1), torch.arange(8) % 4, DataInfo("same", 4, (3, 32, 32)))
    poisoned = Cuda().poison(train, make_context()).images
    assert torch.equal(poisoned[:4], poisoned[4:])
    assert len(poisoned.flatten(1).unique(dim=0)) == 4


def test_the_seed_decides_and_nothing_else(smooth_set, make_context) -> None:
    train = smooth_set()
    one, again, other = (Cuda().poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    alone = Cuda().poison(train.take(torch.tensor([7, 3])), make_context(1)).images
    assert torch.equal(alone, one[[7, 3]]), "an image does not depend on the others"


def test_black_stays_black_and_a_pixel_spreads(make_context) -> None:
    images = torch.zeros(2, 3, 9, 9, dtype=torch.uint8)
    images[1, :, 4, 4] = 200
    train = ImageSet(images, torch.tensor([0, 0]), DataInfo("dark", 1, (3, 9, 9)))
    black, pixel = Cuda().poison(train, make_context()).images
    assert not black.any()
    assert pixel.max() == 255
    assert (pixel[0] > 0).nonzero().tolist() == [[row, column] for row in (3, 4, 5) for column in (3, 4, 5)]


def test_in_a_chain_it_blurs_what_is_there(smooth_set, make_context) -> None:
    train = smooth_set()
    poisoned = replace(train, images=255 - train.images)
    onto = Cuda().poison_onto(train, poisoned, make_context()).images
    assert torch.equal(onto, Cuda().poison(poisoned, make_context()).images)


def test_a_victim_fails_on_clean_images(learnable_set, make_context) -> None:
    train, ctx = learnable_set(count=400, pattern_levels=6, noise_levels=20), make_context(scope="victim")
    found = []
    for seen in (train, Cuda().poison(train, make_context())):
        victim = build_surrogate("s-net", train.info, ctx)
        batches = Batches(seen, ctx.device, 30, ctx.generator("batch-order"))
        fit(victim, batches, cross_entropy(victim), Recipe(epochs=6, lr=0.1, schedule="one-cycle"), ctx)
        found.append(accuracy(victim, train, ctx.device))
    assert found[0] > 0.9
    assert found[1] < 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blur": 0.0}, r"blur must be in \(0, 1\], got 0"),
        ({"blur": float("nan")}, "blur"),
        ({"kernel": 2}, "odd number of pixels, got 2"),
        ({"kernel": -1}, "odd number"),
        ({"poison_rate": 0.0}, "poison_rate"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cuda(**settings)
