"""Defenses that distort every batch: COIN, random sharpening with a low-pass filter, ECLIPSE's corruption."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import Recipe
from bench.errors import UserError
from bench.registry import defenses
from bench.select.spec import select
from defenses.coin import Coin, displaced
from defenses.eclipse_lcc import LightweightCorruption
from defenses.filters.cosine import cosine_matrix
from defenses.sharpen_lowpass import SharpenLowPass, sharpened


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def changed(defense, images, ctx):
    return defense.change(None, images, torch.zeros(len(images), dtype=torch.int64), ctx)


@given(distance=st.floats(0, 5), seed=st.integers(0, 50))
@settings(max_examples=20)
def test_displaced_pixels_lie_between_those_of_the_image(distance, seed):
    images = torch.rand(3, 2, 7, 9, generator=generator(seed))
    result = displaced(images, distance, generator(seed))
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    assert bool(((result >= low - 1e-6) & (result <= high + 1e-6)).all())
    if distance == 0:
        assert torch.equal(result, images)


def test_a_displacement_is_the_interpolated_pixel_of_the_image_repeated_on_all_sides():
    images = torch.rand(2, 3, 5, 6, generator=generator())
    moves = 2.0 * (2 * torch.rand((2, 2, 5, 6), generator=generator(1)) - 1)
    result = displaced(images, 2.0, generator(1))
    for i, row, column in ((0, 0, 0), (1, 4, 5), (0, 2, 3), (1, 0, 5)):
        y, x = row + moves[0, i, row, column].double(), column + moves[1, i, row, column].double()
        expected = 0
        for r in range(-3, 9):
            for c in range(-3, 10):
                weight = (1 - (y - r).abs()).clamp(min=0) * (1 - (x - c).abs()).clamp(min=0)
                expected = expected + weight * images[i, :, r % 5, c % 6].double()
        torch.testing.assert_close(result[i, :, row, column].double(), expected, atol=1e-5, rtol=0)


def test_coin_breaks_what_is_the_same_at_every_pixel():
    """The response to a fixed high-frequency kernel, by which a convolved class is told, loses most of its size."""
    stripes = (torch.arange(16) % 2).float().expand(40, 1, 16, 16)
    before = stripes.diff(dim=3).abs().mean()
    after = displaced(stripes, 2.0, generator()).diff(dim=3).abs().mean()
    assert float(before) == 1
    assert float(after) < 0.4


def test_recipes():
    multistep = Recipe(epochs=100, schedule="multistep", milestones=(50, 75), warmup_epochs=5)
    assert Coin().change_recipe(Recipe()) == Recipe(epochs=80, weight_decay=0.0)
    assert Coin().change_recipe(multistep).milestones == (40, 60)
    assert Coin(epochs=None, weight_decay=None).change_recipe(multistep) == multistep
    assert SharpenLowPass().change_recipe(Recipe(epochs=30)) == Recipe(epochs=60, batch_size=512)
    assert SharpenLowPass(epochs=None, batch_size=None).change_recipe(multistep) == multistep


def test_sharpening_with_fixed_kernels_is_the_convolution_inside_of_the_border():
    images = 0.3 + 0.1 * torch.rand(2, 3, 6, 7, generator=generator())
    kernel = torch.tensor([[0, -0.375, 0], [-0.375, 2.5, -0.375], [0, -0.375, 0]]).expand(3, 1, 3, 3)
    expected = torch.nn.functional.conv2d(images, kernel, groups=3)
    result = sharpened(images, 2.5, 0.0, generator())
    assert result.shape == images.shape
    torch.testing.assert_close(result[:, :, 1:-1, 1:-1], expected)


def test_kernels_are_random_and_each_image_has_its_own(make_context):
    flat = torch.full((50, 3, 8, 8), 0.5)
    levels = sharpened(flat, 2.5, 0.1, generator())[:, 0, 0, 0]
    assert 0.05 < float(levels.std()) < 0.2, "half of the deviation of four neighbors of 0.1 each"
    assert len(levels.unique()) > 45
    low = changed(SharpenLowPass(), torch.rand(4, 3, 20, 20, generator=generator()), make_context())
    matrix = cosine_matrix(20).float()
    spectrum = matrix @ low @ matrix.T
    assert float(spectrum[:, :, 6:].abs().max()) < 1e-4
    assert float(spectrum[..., 6:].abs().max()) < 1e-4
    assert float(spectrum[:, :, :6, :6].abs().max()) > 0.1


def test_corruption_is_gray_and_noise(make_context):
    images = 0.3 + 0.4 * torch.rand(400, 3, 1, 1, generator=generator()).expand(-1, -1, 6, 6)
    none = changed(LightweightCorruption(gray=0.0), images, make_context())
    assert 0.048 < float((none - images).std()) < 0.052
    found = changed(LightweightCorruption(sigma=0.0), images, make_context())
    gray = (found[:, 0] == found[:, 2]).flatten(1).all(dim=1)
    assert torch.equal(found[~gray], images[~gray])
    assert 0.32 < float(gray.float().mean()) < 0.48
    expected = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1)
    torch.testing.assert_close(found[gray, 1], expected[gray])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coin:distance=-1", "distance must be a finite number of pixels >= 0"),
        ("coin:epochs=0", "epochs must be at least 1"),
        ("sharpen-lowpass:keep=0", r"keep must be in \(0, 1\]"),
        ("sharpen-lowpass:center=0.5", "center must be a finite number >= 1"),
        ("eclipse-lcc:gray=2", "gray is a probability"),
        ("eclipse-lcc:sigma=-1", "sigma must be a finite number >= 0"),
    ],
)
def test_bad_parameters(text, message):
    with pytest.raises(UserError, match=message):
        select(defenses, text)
