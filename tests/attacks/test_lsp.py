import math

import pytest
import torch
from torch import Tensor

from attacks.lsp import Lsp
from bench.api import Context, ImageSet, perturbation
from bench.errors import UserError


def _delta(attack: Lsp, train: ImageSet, ctx: Context) -> Tensor:
    """The noise before rounding."""
    return attack._delta(attack._features(train, ctx), train.info.shape)


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


@pytest.mark.parametrize("eps", [1.0, 1.3041, 4.0])
def test_every_image_gets_noise_of_exactly_the_radius(smooth_set, make_context, eps: float) -> None:
    delta = _delta(Lsp(eps=eps), smooth_set(), make_context())
    assert torch.allclose(delta.flatten(1).norm(dim=1), torch.tensor(eps, dtype=torch.float64), rtol=1e-5)


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 20, 33), (1, 28, 28), (3, 5, 9)])
def test_the_budget_holds_after_rounding(smooth_set, make_context, shape: tuple[int, int, int], rounding: str) -> None:
    train = smooth_set(shape=shape)
    attack = Lsp(rounding=rounding)
    poisoned = attack.poison(train, make_context())
    assert (attack.budget.measure(train.images, poisoned.images) <= attack.budget.allowed(shape)).all()
    assert not torch.equal(poisoned.images, train.images)


def test_noise_is_constant_in_each_patch_and_channel(smooth_set, make_context) -> None:
    train = smooth_set(shape=(3, 30, 21))
    gray = ImageSet(torch.full_like(train.images, 128), train.labels, train.info)
    difference = _difference(Lsp(patch=8).poison(gray, make_context()), gray)
    for top in range(0, 30, 8):
        for left in range(0, 21, 8):
            cell = difference[..., top : top + 8, left : left + 8].flatten(2)
            assert torch.equal(cell.amin(2), cell.amax(2))


def test_classes_are_told_apart_by_the_nearest_mean(smooth_set, make_context) -> None:
    train = smooth_set(count=400, classes=10)
    delta = _delta(Lsp(), train, make_context()).flatten(1)
    means = torch.stack([delta[:200][train.labels[:200] == label].mean(0) for label in range(10)])
    nearest = torch.cdist(delta[200:], means).argmin(1)
    assert torch.equal(nearest, train.labels[200:]), "held-out images"


def test_noise_depends_on_labels_and_seed_but_not_on_pixels(smooth_set, make_context) -> None:
    train = smooth_set()
    black = ImageSet(torch.zeros_like(train.images), train.labels, train.info)
    relabeled = ImageSet(train.images, train.labels.flip(0), train.info)
    delta = _delta(Lsp(), train, make_context(seed=1))
    assert torch.equal(delta, _delta(Lsp(), black, make_context(seed=1)))
    assert not torch.equal(delta, _delta(Lsp(), train, make_context(seed=2)))
    assert not torch.equal(delta, _delta(Lsp(), relabeled, make_context(seed=1)))


def test_two_images_of_a_class_differ(smooth_set, make_context) -> None:
    delta = _delta(Lsp(), smooth_set(count=8, classes=4), make_context()).flatten(1)
    assert (torch.cdist(delta, delta) + torch.eye(8)).min() > 0.1


def test_other_radii_scale_one_draw(smooth_set, make_context) -> None:
    one, four = (_delta(Lsp(eps=eps), smooth_set(), make_context()) for eps in (1.0, 4.0))
    assert torch.allclose(4 * one, four)


def test_the_chunk_size_does_not_matter(smooth_set, make_context, monkeypatch) -> None:
    train = smooth_set(count=23)
    whole = Lsp().poison(train, make_context()).images
    monkeypatch.setattr(perturbation, "_ENTRIES_AT_ONCE", 5 * 3072)
    assert torch.equal(Lsp().poison(train, make_context()).images, whole)


def test_unbalanced_classes_get_one_vector_an_image(smooth_set, make_context) -> None:
    labels = torch.tensor([0] * 30 + [1])
    poisoned = Lsp().poison(smooth_set(31, 2, labels=labels), make_context())
    assert len(poisoned.images.flatten(1).unique(dim=0)) == 31


@pytest.mark.parametrize("level", [0, 255])
def test_saturated_images_stay_valid(smooth_set, make_context, level: int) -> None:
    train = smooth_set()
    flat = ImageSet(torch.full_like(train.images, level), train.labels, train.info)
    sign = _difference(Lsp().poison(flat, make_context()), flat).sign()
    assert sign.unique().tolist() == ([0, 1] if level == 0 else [-1, 0])


def test_as_many_classes_as_vertices_are_all_different(smooth_set, make_context) -> None:
    train = smooth_set(count=80, classes=8, shape=(3, 8, 8))
    features = Lsp(separation=1e4)._features(train, make_context())
    assert len(features.sign().unique(dim=0)) == 8


def test_more_classes_than_vertices_are_refused(smooth_set, make_context) -> None:
    with pytest.raises(
        UserError, match=r"9 classes do not fit on 3 features \(patches of 8 pixels on 8x8\); use a smaller patch"
    ):
        Lsp().poison(smooth_set(count=9, classes=9, shape=(3, 8, 8)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 8 / 255}, r"at least 0.1, got 0.0313.*eps=1.3041"),
        ({"eps": math.nan}, "got nan"),
        ({"patch": 0}, "patch must be at least 1"),
        ({"separation": -1.0}, "separation must be"),
        ({"rounding": "up"}, "got 'up'"),
        ({"poison_rate": 0.0}, "poison_rate"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lsp(**settings)


@pytest.mark.parametrize(("eps", "mean_l2", "mean_max", "max_max", "clipped"), [
    (1.0, 0.994, 8.0, 13, 0.018),
    (1.3041, 1.294, 10.5, 17, 0.019),
    (4.0, 3.923, 32.2, 52, 0.043),
])  # fmt: skip
def test_facts_on_real_images(
    real, make_context, eps: float, mean_l2: float, mean_max: float, max_max: int, clipped: float
) -> None:
    attack = Lsp(eps=eps)
    poisoned = attack.poison(real, make_context())
    largest = _difference(poisoned, real).abs().flatten(1).amax(1)
    sizes = attack.budget.measure(real.images, poisoned.images)
    exact = real.images.double() + 255 * _delta(attack, real, make_context())
    assert sizes.mean() == pytest.approx(mean_l2, rel=0.02)
    assert largest.double().mean() == pytest.approx(mean_max, rel=0.1)
    assert largest.max() <= max_max
    assert ((exact < 0) | (exact > 255)).double().mean() == pytest.approx(clipped, abs=0.015)
