"""SSIM against scikit-image's published formula, window by window, and hand-made cases."""

import pytest
import torch

from bench.measure.ssim import mean_ssim


def window_by_window(one, two):
    """`structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`, slow and obvious."""
    distance = torch.arange(-5.0, 6.0, dtype=torch.float64)
    weights = torch.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for x, y in zip(one.double().flatten(0, 1), two.double().flatten(0, 1), strict=True):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                ux, uy = (weights * a).sum(), (weights * b).sum()
                vx, vy = (weights * (a - ux) ** 2).sum(), (weights * (b - uy) ** 2).sum()
                vxy = (weights * (a - ux) * (b - uy)).sum()
                found.append((2 * ux * uy + c1) * (2 * vxy + c2) / ((ux**2 + uy**2 + c1) * (vx + vy + c2)))
    return float(torch.stack(found).mean())


def test_is_the_formula_in_every_window(random_set):
    clean = random_set(2, shape=(3, 13, 15)).images
    near = (clean.short() + 40 * (torch.arange(15) % 2)).clamp(0, 255).to(torch.uint8)
    for other in (near, clean.flip(-1)):
        value, used = mean_ssim(other, clean)
        assert used == 2
        assert value == pytest.approx(window_by_window(other, clean), abs=1e-12)


def test_one_for_equal_images_and_the_share_of_brightness_for_flat_ones(random_set):
    clean = random_set(3, shape=(3, 32, 32)).images
    assert mean_ssim(clean, clean) == (pytest.approx(1.0), 3)
    dark, light = torch.full((1, 1, 20, 20), 51, dtype=torch.uint8), torch.full((1, 1, 20, 20), 102, dtype=torch.uint8)
    assert mean_ssim(dark, light)[0] == pytest.approx((2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4))


@pytest.mark.parametrize(
    ("count", "shape", "used"), [(0, (3, 32, 32), 0), (5, (3, 10, 32), 0), (2500, (1, 11, 11), 1000)]
)
def test_how_many_images_are_compared(count, shape, used):
    images = torch.zeros(count, *shape, dtype=torch.uint8)
    assert mean_ssim(images, images) == (pytest.approx(1.0) if used else None, used)


def test_large_images_are_compared_in_smaller_numbers_over_the_whole_set():
    images = torch.zeros(1000, 3, 64, 64, dtype=torch.uint8)
    images[900:] = 255
    value, used = mean_ssim(images, torch.zeros_like(images))
    assert used == 500
    assert value == pytest.approx(0.9 + 0.1 * 1e-4 / (1 + 1e-4))
