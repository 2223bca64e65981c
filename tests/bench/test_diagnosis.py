"""PSNR, residual poison ratio and cosines against hand-made cases."""

import math

import pytest
import torch

from bench.diagnosis import (
    class_mean_cosine,
    measured_sizes,
    perturbation_cosine,
    psnr_db,
    residual_poison_ratio,
)


@pytest.fixture
def poisoned(random_set):
    clean = random_set(60)
    clean = type(clean)(clean.images // 2 + 60, clean.labels, clean.info)
    signs = torch.randint(0, 2, (4, 3, 8, 8), generator=torch.Generator().manual_seed(1)) * 16 - 8
    delta = signs[clean.labels]
    return clean, (clean.images.short() + delta).to(torch.uint8), delta


def test_psnr_of_eight_levels(poisoned):
    clean, images, _ = poisoned
    assert psnr_db(images, clean.images) == pytest.approx(20 * math.log10(255 / 8))
    assert psnr_db(clean.images, clean.images) is None


def test_residual_is_one_for_the_poison_half_for_half_and_zero_for_clean(poisoned):
    clean, images, delta = poisoned
    half = (clean.images.short() + delta // 2).to(torch.uint8)
    assert residual_poison_ratio(images, images, clean.images, clean.labels) == pytest.approx(1)
    assert residual_poison_ratio(half, images, clean.images, clean.labels) == pytest.approx(0.5)
    assert residual_poison_ratio(clean.images, images, clean.images, clean.labels) == pytest.approx(0)
    assert residual_poison_ratio(images, clean.images, clean.images, clean.labels) is None


def test_residual_ignores_a_shift_of_all_classes(poisoned):
    clean, images, _ = poisoned
    shifted = images + 5
    assert residual_poison_ratio(shifted, images, clean.images, clean.labels) == pytest.approx(1)


def test_cosines(poisoned):
    clean, images, delta = poisoned
    assert perturbation_cosine(delta / 255 * 3, images, clean.images) == pytest.approx(1, abs=1e-6)
    assert perturbation_cosine(-delta / 255, images, clean.images) == pytest.approx(-1, abs=1e-6)
    assert class_mean_cosine(delta / 255, images, clean.images, clean.labels) == pytest.approx(1, abs=1e-6)
    assert perturbation_cosine(delta / 255, clean.images, clean.images) is None


def test_sizes(poisoned):
    clean, images, _ = poisoned
    sizes = measured_sizes(images, clean.images)
    assert sizes["linf_max"] == pytest.approx(8 / 255)
    assert sizes["l2_max"] == pytest.approx(8 / 255 * math.sqrt(192))
    assert sizes["l0_max"] == 64
