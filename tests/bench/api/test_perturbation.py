import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.api import Budget, add_perturbation, perturb, perturbation

_LEVEL = st.integers(0, 255)
_NOISE = st.floats(-2, 2, width=32)


@st.composite
def _images_and_noise(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    size = math.prod(shape)
    images = torch.tensor(draw(st.lists(_LEVEL, min_size=size, max_size=size)), dtype=torch.uint8).view(shape)
    noise = torch.tensor(draw(st.lists(_NOISE, min_size=size, max_size=size)), dtype=torch.float64).view(shape)
    return images, noise


@given(_images_and_noise(), st.floats(0.001, 1), st.sampled_from(["nearest", "floor"]))
def test_an_linf_budget_is_never_exceeded(case: tuple[Tensor, Tensor], radius: float, rounding: str) -> None:
    images, noise = case
    budget = Budget("linf", radius)
    poisoned = add_perturbation(images, noise.clamp(-radius, radius), rounding, linf=radius)
    assert (budget.measure(images, poisoned) <= budget.allowed(tuple(images.shape[1:]))).all()


@given(_images_and_noise())
def test_an_l2_norm_grows_by_rounding_only(case: tuple[Tensor, Tensor]) -> None:
    images, noise = case
    poisoned = add_perturbation(images, noise)
    for image, other, delta in zip(images, poisoned, noise, strict=True):
        size = Budget("l2", 0).measure(image[None], other[None])
        assert size <= Budget("l2", float(delta.norm())).allowed(tuple(image.shape))


@given(_images_and_noise())
def test_nearest_is_the_nearest_8_bit_image(case: tuple[Tensor, Tensor]) -> None:
    images, noise = case
    exact = (images.double() + 255 * noise).clamp(0, 255)
    assert (add_perturbation(images, noise).double() - exact).abs().max() <= 0.5 + 1e-9


@given(_images_and_noise())
def test_floor_truncates_the_perturbed_image(case: tuple[Tensor, Tensor]) -> None:
    images, noise = case
    exact = (images.double() + 255 * noise).clamp(0, 255)
    below = exact - add_perturbation(images, noise, "floor").double()
    assert below.min() >= -1e-5
    assert below.max() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("levels", [8, -8, 1, -1, 0, 255])
def test_whole_levels_arrive_exactly(levels: int, rounding: str, dtype: torch.dtype) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    delta = torch.full(images.shape, levels / 255, dtype=dtype)
    expected = (images.to(torch.int16) + levels).clamp(0, 255).to(torch.uint8)
    assert torch.equal(add_perturbation(images, delta, rounding, linf=1.0), expected)


def test_signed_noise_is_added_first_and_clipped_after() -> None:
    images = torch.tensor([0, 3, 100, 252, 255], dtype=torch.uint8).view(1, 1, 1, 5)
    down, up = (add_perturbation(images, torch.full(images.shape, sign * 8 / 255)) for sign in (-1, 1))
    assert down.flatten().tolist() == [0, 0, 92, 244, 247]
    assert up.flatten().tolist() == [8, 11, 108, 255, 255]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_noise_that_is_not_finite_is_refused(bad: float) -> None:
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="NaN or infinite"):
        add_perturbation(images, torch.full(images.shape, bad))


def test_another_shape_is_refused_instead_of_broadcast() -> None:
    with pytest.raises(ValueError, match=r"is \(3, 2, 2\)"):
        add_perturbation(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.zeros(3, 2, 2))


def test_a_set_is_perturbed_chunk_by_chunk(random_set, make_context, monkeypatch) -> None:
    train = random_set(count=23, shape=(3, 8, 8))
    noise = torch.randn(23, 3, 8, 8, generator=torch.Generator().manual_seed(0)) / 20
    monkeypatch.setattr(perturbation, "_ENTRIES_AT_ONCE", 5 * 3 * 8 * 8)
    seen: list[slice] = []

    def make_delta(rows: slice) -> Tensor:
        seen.append(rows)
        return noise[rows]

    poisoned = perturb(train, make_delta, make_context())
    assert torch.equal(poisoned.images, add_perturbation(train.images, noise))
    assert [rows.stop - rows.start for rows in seen] == [5, 5, 5, 5, 3]
