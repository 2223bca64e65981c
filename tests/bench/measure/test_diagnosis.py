"""PSNR, residual poison ratio, cosines, separability and shares against hand-made cases."""

import math

import pytest
import torch

from bench.api import Budget
from bench.api.budget import BudgetSum
from bench.measure import diagnosis
from bench.measure.diagnosis import (
    class_mean_cosine,
    class_share,
    entry_shares,
    linear_separability,
    measured_sizes,
    perturbation_cosine,
    poison_scores,
    psnr_db,
    residual_poison_ratio,
)
from bench.store.scores import SCORES


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


def test_psnr_and_residual_of_several_chunks_are_those_of_float64(random_set):
    clean, other, purified = (random_set(700, classes=3).images.roll(shift, 0) for shift in (0, 1, 2))
    labels = torch.arange(700) % 3
    before, after = other.double() / 255 - clean.double() / 255, purified.double() / 255 - clean.double() / 255
    assert psnr_db(other, clean) == pytest.approx(-10 * math.log10(float(before.square().mean())), rel=1e-12)
    means = [torch.stack([d[labels == k].mean(0) for k in range(3)]) for d in (before, after)]
    poison, left = (mean - mean.mean(0) for mean in means)
    wanted = float((left * poison).sum() / poison.square().sum())
    assert residual_poison_ratio(purified, other, clean, labels) == pytest.approx(wanted, rel=1e-9)


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


def everything(images):
    return torch.ones(len(images), dtype=torch.bool)


def noise(images, count=None, seed=2):
    """Independent signs of 8 levels: nothing about the class."""
    signs = torch.randint(
        0, 2, (count or len(images), *images.shape[1:]), generator=torch.Generator().manual_seed(seed)
    )
    return signs * 16 - 8


class TestSeparability:
    @pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 3)], ids=["more entries than images", "fewer"])
    def test_one_for_a_pattern_of_the_class_and_chance_for_none(self, random_set, shape):
        clean = random_set(400, classes=4, shape=shape)
        base = clean.images // 2 + 60
        patterns = noise(base, count=4, seed=5)[clean.labels]
        for delta, low, high in ((patterns, 1.0, 1.0), (noise(base), 0.1, 0.4)):
            poisoned = (base.short() + delta).to(torch.uint8)
            found, n = linear_separability(poisoned, base, clean.labels, everything(base))
            assert n == 200
            assert low <= found <= high

    def test_it_is_judged_on_images_it_was_not_fitted_to(self, random_set):
        """Fitted and judged on the same images, random labels are found wherever entries outnumber images."""
        clean = random_set(60, classes=4)
        base = clean.images // 2 + 60
        poisoned = (base.short() + noise(base)).to(torch.uint8)
        assert linear_separability(poisoned, base, clean.labels, everything(base))[0] < 0.6

    def test_the_closed_form_is_the_ridge_classifier(self):
        """Both forms against gradient-free normal equations of the other size."""
        generator = torch.Generator().manual_seed(3)
        for n, entries in ((30, 50), (50, 30)):
            inputs, targets = torch.randn(n, entries, generator=generator), torch.randn(n, 3, generator=generator)
            strength = 0.01 * inputs.square().sum() / n
            system = torch.cat([inputs, strength.sqrt() * torch.eye(entries)])
            wanted = torch.linalg.lstsq(system, torch.cat([targets, torch.zeros(entries, 3)])).solution
            assert torch.allclose(diagnosis._ridge(inputs, targets), wanted, atol=1e-4)

    def test_sorted_classes_and_unpoisoned_images_do_not_matter(self, poisoned):
        clean, images, _ = poisoned
        order = clean.labels.argsort(stable=True)
        mask = torch.arange(60) % 3 > 0
        mixed = torch.where(mask[:, None, None, None], images, clean.images)
        found, n = linear_separability(mixed[order], clean.images[order], clean.labels[order], mask[order])
        assert (found, n) == (1.0, 20)

    def test_large_sets_are_sampled(self, poisoned, monkeypatch):
        clean, images, _ = poisoned
        monkeypatch.setattr(diagnosis, "_SEPARABILITY_IMAGES", 40)
        assert linear_separability(images, clean.images, clean.labels, everything(images))[1] == 20

    def test_larger_images_are_fewer(self, monkeypatch):
        monkeypatch.setattr(diagnosis, "_SEPARABILITY_IMAGES", 40)
        images = torch.zeros(60, 3, 64, 64, dtype=torch.uint8)
        found = linear_separability(images + 1, images, torch.arange(60) % 2, everything(images))
        assert found[1] == 10

    def test_none_without_a_poison_or_with_one_class(self, poisoned):
        clean, images, _ = poisoned
        every = everything(images)
        assert linear_separability(clean.images, clean.images, clean.labels, every) == (None, 0)
        assert linear_separability(images, clean.images, torch.zeros_like(clean.labels), every) == (None, 0)
        assert linear_separability(images[:3], clean.images[:3], clean.labels[:3], every[:3]) == (None, 0)
        assert linear_separability(images, clean.images, clean.labels, ~every) == (None, 0)


class TestShares:
    def test_by_hand(self):
        clean = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
        clean[0, 0] = torch.tensor([[4, 4], [100, 255]])
        poisoned = clean.clone()
        poisoned[0, 0] = torch.tensor([[0, 12], [92, 255]])  # -4 (cut), +8, -8, 0
        mask = torch.tensor([True, False])
        shares = entry_shares(poisoned, clean, mask, Budget("linf", 8 / 255))
        assert shares == {"at_bound_share": 2 / 4, "negative_share": 2 / 3, "clipped_share": 1 / 3}

    @pytest.mark.parametrize(
        "budget", [Budget("l2", 1), Budget("l0", 1), Budget("none"), BudgetSum((Budget("linf", 8 / 255),))]
    )
    def test_only_a_single_linf_budget_has_a_bound(self, poisoned, budget):
        clean, images, _ = poisoned
        shares = entry_shares(images, clean.images, everything(images), budget)
        assert shares["at_bound_share"] is None
        assert shares["negative_share"] == pytest.approx(0.5, abs=0.1)

    def test_none_without_a_poison(self, poisoned):
        clean, _, _ = poisoned
        shares = entry_shares(clean.images, clean.images, everything(clean.images), Budget("linf", 0))
        assert set(shares.values()) == {None}


def test_every_score_of_a_poison_is_explained(poisoned):
    clean, images, _ = poisoned
    scores = poison_scores(images, clean.images, clean.labels, everything(images), Budget("linf", 8 / 255))
    assert set(scores) <= set(SCORES)
    assert (scores["poison_separability"], scores["poison_separability_images"]) == (1.0, 30)
    assert scores["poison_at_bound_share"] == 1.0
    none = poison_scores(clean.images, clean.images, clean.labels, everything(images), Budget("linf", 0))
    assert {name for name, value in none.items() if value is None} == {
        "poison_psnr_db",
        *("poison_ssim", "poison_ssim_images"),  # the images are smaller than a window
        *("poison_separability", "poison_separability_images"),
        *("poison_at_bound_share", "poison_negative_share", "poison_clipped_share"),
        "poison_class_share",
    }


def test_the_class_share_is_the_energy_of_class_means(poisoned):
    clean, images, delta = poisoned
    assert class_share(images, clean.images, clean.labels) == pytest.approx(1.0)
    generator = torch.Generator().manual_seed(2)
    own = torch.randint(-8, 9, delta.shape, generator=generator)
    mixed = (clean.images.short() + delta + own).to(torch.uint8)
    d = mixed.double() - clean.images
    means = torch.stack([d[clean.labels == label].mean(0) for label in range(4)])
    expected = float(means[clean.labels].square().sum() / d.square().sum())
    assert class_share(mixed, clean.images, clean.labels) == pytest.approx(expected)
    assert 0.5 < expected < 0.9
    alone = class_share((clean.images.short() + own).to(torch.uint8), clean.images, clean.labels)
    assert alone == pytest.approx(4 / 60, abs=0.02)


def test_images_that_were_not_offered_do_not_dilute_the_scores(poisoned):
    clean, images, _ = poisoned
    half = torch.arange(len(images)) % 2 == 0
    part = torch.where(half[:, None, None, None], images, clean.images)
    budget = Budget("linf", 8 / 255)
    scores = poison_scores(part, clean.images, clean.labels, half, budget)
    alone = poison_scores(images[half], clean.images[half], clean.labels[half], everything(images[half]), budget)
    same = ("poison_psnr_db", "poison_l2_mean", "poison_linf_max", "poison_at_bound_share", "poison_clipped_share")
    assert [scores[name] for name in same] == pytest.approx([alone[name] for name in same])
