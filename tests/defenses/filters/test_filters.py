"""Filters: each does what its name says, keeps smooth images, and removes fine noise."""

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.registry import defenses
from bench.select.spec import select
from defenses.filters.cosine import low_pass
from defenses.filters.variation import gradient, smoothed

NAMES = ["low-pass", "gaussian-blur", "median", "bilateral", "total-variation", "wavelet", "svd"]


def chosen(text):
    return select(defenses, text)[0].component


def applied(text, images):
    return chosen(text).apply(images)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(level=st.integers(0, 255))
def test_a_flat_image_stays(name, level):
    flat = torch.full((2, 3, 16, 12), level, dtype=torch.uint8)
    assert torch.equal(applied(name, flat), flat)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 9, 14), (3, 16, 16)])
def test_images_of_other_shapes_and_of_noise_keep_shape_and_type(name, shape, random_set):
    images = random_set(5, shape=shape).images
    before = images.clone()
    result = applied(name, images)
    assert (result.dtype, result.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before)
    assert not torch.equal(result, images), "it does nothing"


@pytest.mark.parametrize("name", NAMES)
def test_smooth_images_nearly_stay_and_fine_class_noise_goes(name, smooth_set):
    """A shortcut of 8 levels a pixel, the same for all images of a class, loses two fifths of its energy."""
    clean = smooth_set(24, classes=4)
    noise = 8 * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).sign()
    poisoned = (clean.images.float() + noise[clean.labels]).clamp(0, 255).to(torch.uint8)
    kept, cleaned = applied(name, clean.images).float(), applied(name, poisoned).float()
    assert (kept - clean.images.float()).square().mean().sqrt() < 6, "levels of 255"
    added = (poisoned.float() - clean.images.float()).square().sum()
    assert (cleaned - kept).square().sum() < 0.6 * added


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.3, 1.0])
def test_low_pass_is_the_masked_cosine_transform(keep, random_set):
    images = random_set(4, shape=(3, 10, 16)).images.double()
    spectrum = scipy.fft.dctn(images.numpy(), axes=(2, 3), norm="ortho")
    spectrum[:, :, int(np.ceil(keep * 10)) :] = 0
    spectrum[..., int(np.ceil(keep * 16)) :] = 0
    expected = torch.from_numpy(scipy.fft.idctn(spectrum, axes=(2, 3), norm="ortho"))
    torch.testing.assert_close(low_pass(images, keep), expected)
    torch.testing.assert_close(low_pass(low_pass(images, keep), keep), expected)


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_the_median(size, random_set):
    images = random_set(3).images
    expected = scipy.ndimage.median_filter(images.numpy(), (1, 1, size, size), mode="mirror")
    assert torch.equal(applied(f"median:size={size}", images), torch.from_numpy(expected))


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_gaussian_blur_is_a_gaussian(sigma, random_set):
    images = random_set(3, shape=(3, 12, 12)).images
    blurred = scipy.ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=3.01)
    difference = applied(f"gaussian-blur:sigma={sigma}", images).double() - torch.from_numpy(blurred)
    assert float(difference.abs().max()) <= 0.5 + 1e-6


def test_bilateral_filtering_keeps_an_edge_that_a_blur_does_not():
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    images[..., 8:] = 200
    assert torch.equal(applied("bilateral", images), images)
    assert not torch.equal(applied("gaussian-blur", images), images)


@given(weight=st.floats(0.01, 0.3))
@settings(max_examples=10)
def test_total_variation_ends_below_the_image_and_its_blur(weight):
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def energy(candidate):
        return float(((candidate - images).square() / 2).sum() + weight * torch.hypot(*gradient(candidate)).sum())

    few, many = (energy(smoothed(images, weight, steps)) for steps in (20, 200))
    flat = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    assert many <= few * (1 + 1e-9)
    assert many < energy(images)
    assert many <= energy(flat) * (1 + 1e-6)


def test_wavelets_rebuild_the_image_without_thresholds(random_set):
    images = random_set(3, shape=(3, 15, 32)).images
    for wavelet in ("haar", "db2", "sym4"):
        assert torch.equal(applied(f"wavelet:strength=0:wavelet={wavelet}", images), images)


def test_a_rank_is_a_rank(random_set):
    images = random_set(3, shape=(3, 8, 12)).images
    assert torch.equal(applied("svd:rank=8", images), images)
    left, values, right = np.linalg.svd(images.double().numpy(), full_matrices=False)
    values[..., 2:] = 0
    expected = np.clip(np.rint(left * values[..., None, :] @ right), 0, 255).astype(np.uint8)
    assert torch.equal(applied("svd:rank=2", images), torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian-blur:sigma=0.1", "sigma must be in 0.3..10"),
        ("median:size=4", "size must be odd"),
        ("bilateral:sigma_color=0", "sigma_color must be a finite number > 0"),
        ("low-pass:keep=0", r"keep must be in \(0, 1\]"),
        ("wavelet:wavelet=hair", "unknown wavelet 'hair'; choices: .*haar"),
        ("wavelet:wavelet=bior2.2", "not orthogonal"),
        ("svd:rank=0", "rank must be at least 1"),
        ("total-variation:weight=-1", "weight must be a finite number >= 0"),
    ],
)
def test_bad_parameters(text, message):
    with pytest.raises(UserError, match=message):
        chosen(text)


def test_a_kernel_larger_than_the_image_is_refused_before_any_work(random_set):
    with pytest.raises(ValueError, match="reaches 9 pixels around a pixel, but the images have 8; lower sigma"):
        chosen("gaussian-blur:sigma=3").check_fit(random_set())
