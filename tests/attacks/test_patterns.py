import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.class_color import ClassColor
from attacks.patterns import ClassRandom, Patches, Regions
from bench.api import DataInfo, ImageSet, PartialPoison, Recipe
from bench.errors import UserError
from bench.training import Batches, accuracy, cross_entropy, fit
from bench.training.surrogates import build_surrogate

ALL = [ClassRandom(), Regions(), Regions(16), Patches(), Patches(8), ClassColor()]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


def _gray(train: ImageSet) -> ImageSet:
    return ImageSet(torch.full_like(train.images, 128), train.labels, train.info)


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_a_class_has_one_pattern_within_the_budget_and_classes_differ(smooth_set, make_context, attack) -> None:
    train = _gray(smooth_set(count=60, classes=10))
    difference = _difference(attack.poison(train, make_context()), train)
    assert difference.abs().max() <= attack.budget.levels
    patterns = [difference[train.labels == label] for label in range(10)]
    assert all(torch.equal(found, found[:1].expand_as(found)) for found in patterns)
    assert len(torch.stack([found[0] for found in patterns]).flatten(1).unique(dim=0)) == 10


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_the_seed_decides_and_pixels_do_not(smooth_set, make_context, attack) -> None:
    train = _gray(smooth_set())
    one, again, other = (_difference(attack.poison(train, make_context(seed)), train) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    few = train.take(torch.tensor([7, 3]))
    assert torch.equal(_difference(attack.poison(few, make_context(1)), few), one[[7, 3]])


@pytest.mark.parametrize("attack", ALL, ids=str)
@pytest.mark.parametrize("shape", [(1, 9, 14), (3, 5, 33)])
def test_odd_sizes_and_saturated_images(smooth_set, make_context, attack: PartialPoison, shape) -> None:
    train = smooth_set(count=12, classes=3, shape=shape)
    train.images[:3], train.images[3:6] = 0, 255
    difference = _difference(attack.poison(train, make_context()), train)
    assert difference[:3].min() >= 0
    assert difference[3:6].max() <= 0


@given(st.sampled_from([1, 4, 9, 16]), st.integers(4, 40), st.integers(4, 40), st.integers(0, 99))
def test_regions_are_constant_blocks_at_the_bound(regions: int, height: int, width: int, seed: int) -> None:
    patterns = Regions(regions).draw(DataInfo("any", 5, (3, height, width)), _generator(seed))
    assert (patterns.abs() == 1).all()
    side = round(regions**0.5)
    changes_down = (patterns[..., 1:, :] != patterns[..., :-1, :]).any(3).flatten(0, 1).any(0)
    changes_right = (patterns[..., 1:] != patterns[..., :-1]).any(2).flatten(0, 1).any(0)
    assert changes_down.sum() <= side - 1
    assert changes_right.sum() <= side - 1
    assert len(patterns.flatten(1).unique(dim=0)) == 5


def test_quarters_are_halves_of_the_sides() -> None:
    pattern = Regions().draw(DataInfo("any", 1, (3, 32, 32)), _generator())[0]
    assert torch.equal(pattern[:, :16, :16], pattern[:, :1, :1].expand(3, 16, 16))
    assert torch.equal(pattern[:, 16:, 16:], pattern[:, 31:, 31:].expand(3, 16, 16))


@given(st.integers(1, 9), st.integers(3, 40), st.integers(0, 99))
def test_patches_repeat_with_their_side(side: int, size: int, seed: int) -> None:
    patterns = Patches(side).draw(DataInfo("any", 2, (3, size, size)), _generator(seed))
    assert torch.equal(patterns[..., side:, :], patterns[..., :-side, :])
    assert torch.equal(patterns[..., side:], patterns[..., :-side])


def test_as_many_classes_as_patterns_are_all_different() -> None:
    for attack, shape in ((Regions(), (1, 8, 8)), (Patches(2), (1, 8, 8))):
        assert len(attack.draw(DataInfo("all", 16, shape), _generator()).flatten(1).unique(dim=0)) == 16


@pytest.mark.parametrize(
    ("attack", "classes", "shape", "message"),
    [
        (Regions(), 17, (1, 8, 8), "17 classes do not fit on 4 regions of 1 channels; choose more regions"),
        (Regions(16), 2, (3, 3, 9), "16 regions do not fit on 3x9 pixels"),
        (Patches(1), 9, (3, 8, 8), "9 classes do not fit on patterns of 3 entries; raise side"),
        (ClassColor(1 / 255), 28, (3, 8, 8), "28 classes do not fit on 27 colors; raise amplitude"),
    ],
)
def test_too_many_classes_are_refused(smooth_set, make_context, attack, classes, shape, message) -> None:
    with pytest.raises(UserError, match=message):
        attack.poison(smooth_set(count=2 * classes, classes=classes, shape=shape), make_context())


def test_colors_are_constant_over_the_image_and_far_apart() -> None:
    shifts = 255 * ClassColor()._shifts(DataInfo("any", 10, (3, 32, 32)), _generator())
    assert shifts.abs().max() <= 25
    assert (torch.cdist(shifts, shifts) + 1e3 * torch.eye(10)).min() > 15
    all_27 = ClassColor(1 / 255)._shifts(DataInfo("all", 27, (3, 8, 8)), _generator())
    assert len(all_27.unique(dim=0)) == 27


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_a_victim_fails_on_clean_images(learnable_set, make_context, attack) -> None:
    train, ctx = learnable_set(count=400, pattern_levels=1.5, noise_levels=10), make_context(scope="victim")
    poisoned = attack.poison(train, make_context())
    victim = build_surrogate("s-net", train.info, ctx)
    batches = Batches(poisoned, ctx.device, 30, ctx.generator("batch-order"))
    fit(victim, batches, cross_entropy(victim), Recipe(epochs=6, lr=0.1, schedule="one-cycle"), ctx)
    assert accuracy(victim, poisoned, ctx.device) > 0.9
    assert accuracy(victim, train, ctx.device) < 0.6


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (ClassRandom, {"eps": 0.0}, r"eps is an L-inf radius.*got 0; write eps=8/255"),
        (Regions, {"regions": 5}, "square number, got 5; the paper uses 4 and 16"),
        (Patches, {"side": 0}, "side must be at least 1 pixel, got 0"),
        (ClassColor, {"amplitude": 0.0}, "amplitude must be at least 1/255"),
        (ClassColor, {"amplitude": float("nan")}, "amplitude"),
        (Patches, {"poison_rate": 0.0}, "poison_rate"),
    ],
)
def test_settings_out_of_range_are_refused(make, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)
