"""The ablations of D-VAE: a VAE of limited rate and a plain auto-encoder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.datasets import loading
from bench.measure.diagnosis import psnr_db, residual_poison_ratio
from defenses.dvae import PlainAutoencoder, RateLimitedVae

VAE = RateLimitedVae(network="tiny", epochs=1, batch_size=8, lr=1e-2)
AE = PlainAutoencoder(network="tiny", epochs=1, batch_size=8)


@pytest.mark.parametrize(
    "defense",
    [VAE, replace(VAE, latents="mean", rounding="floor"), AE, replace(AE, width=4), replace(AE, noise_sigma=0.0)],
)
def test_output_is_a_data_set_of_the_same_kind(defense, random_set, make_context):
    train = random_set(count=17, classes=3)
    before = train.images.clone()
    once, again = (defense.purify(train, make_context(seed=1)) for _ in range(2))
    assert torch.equal(train.images, before)
    assert torch.equal(once.images, again.images)
    assert once.images.shape == train.images.shape
    assert once.labels is train.labels


def test_labels_do_not_matter(random_set, make_context):
    train = random_set()
    shuffled = replace(train, labels=train.labels.flip(0))
    for defense in (VAE, AE):
        one, other = (defense.purify(images, make_context()).images for images in (train, shuffled))
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def blocks():
    """Outlines with one pattern of colored 8x8 blocks a class, 12 levels, and the clean images."""
    clean = loading.load("shapes:train=200:test=10:size=16", Path()).train
    signs = torch.randint(0, 2, (10, 3, 2, 2), generator=torch.Generator().manual_seed(0)) * 2 - 1
    pattern = 12 * signs.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    images = (clean.images.int() + pattern[clean.labels]).clamp(0, 255).to(torch.uint8)
    return replace(clean, images=images), clean


def test_higher_rate_keeps_more_picture_and_more_poison(blocks, make_context):
    train, clean = blocks
    rates, sharpness, left = [], [], []
    for cap in (0.1, 1.0, 4.0):
        ctx = make_context()
        result = replace(VAE, cap=cap, epochs=6).purify(train, ctx)
        rates.append(ctx.logs["kld"])
        sharpness.append(psnr_db(result.images, clean.images))
        left.append(residual_poison_ratio(result.images, train.images, clean.images, train.labels))
    assert rates == sorted(rates)
    assert sharpness == sorted(sharpness)
    assert left == sorted(left)


def test_autoencoder_keeps_the_poison(blocks, make_context):
    train, clean = blocks
    result = replace(AE, epochs=8, lr=0.3).purify(train, make_context())
    assert residual_poison_ratio(result.images, train.images, clean.images, train.labels) > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RateLimitedVae(cap=-1.0), "cap must be"),
        (lambda: RateLimitedVae(cap=float("inf")), "cap must be finite"),
        (lambda: PlainAutoencoder(width=-1), "width"),
        (lambda: PlainAutoencoder(noise_sigma=float("nan")), "noise_sigma"),
        (lambda: PlainAutoencoder(epochs=0), "epochs"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
