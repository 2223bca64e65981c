"""Cutout, Mixup and CutMix: labels follow pixels exactly, and nothing else changes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.errors import UserError
from bench.plan.describe import faces
from bench.registry import defenses
from bench.select.spec import select
from defenses.mixing import Mixed, cut_out, draw_blend, draw_boxes, mix

COUNT, SHAPE = 24, (3, 12, 10)
BOTH = pytest.mark.parametrize("draw", [draw_blend, draw_boxes])


def flat_images(count=COUNT, shape=SHAPE):
    """Image i has the value (i + 1) / (count + 1) everywhere, so that every pixel tells where it comes from."""
    values = (torch.arange(count) + 1) / (count + 1)
    return values.view(-1, 1, 1, 1).expand(count, *shape).contiguous()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(shape=SHAPE, classes=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


@BOTH
@given(rounds=st.integers(1, 4), probability=st.floats(0, 1), seed=st.integers(0, 100))
def test_rows_of_labels_sum_to_one(draw, rounds, probability, seed):
    labels = torch.arange(COUNT) % 5
    mixed = mix(flat_images(), draw, rounds, probability, generator(seed))
    soft = mixed.soft_labels(labels, 7)
    assert soft.shape == (COUNT, 7)
    assert float(soft.min()) >= 0
    assert not soft[:, 5:].any()
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(COUNT))
    assert 0 <= float(mixed.images.min()) <= float(mixed.images.max()) <= 1


@given(probability=st.floats(0, 1), rounds=st.integers(1, 3), seed=st.integers(0, 100))
def test_a_blend_of_flat_images_is_the_blend_of_their_values(probability, rounds, seed):
    images = flat_images()
    mixed = mix(images, draw_blend, rounds, probability, generator(seed))
    torch.testing.assert_close(mixed.images[:, 0, 0, 0], mixed.origins @ images[:, 0, 0, 0])


@given(probability=st.floats(0, 1), seed=st.integers(0, 200))
def test_the_label_of_a_box_is_its_area_exactly(probability, seed):
    images = flat_images()
    mixed = mix(images, draw_boxes, 1, probability, generator(seed))
    for i, (image, origin) in enumerate(zip(mixed.images, mixed.origins, strict=True)):
        assert torch.equal(image[0], image[2]), "all channels come from the same image"
        for j in range(COUNT):
            pixels = int((image[0] == images[j, 0]).sum())
            assert float(origin[j]) == pytest.approx(pixels / 120, abs=1e-7), (i, j)


def test_power_of_two_areas_are_exact_to_the_last_bit():
    images = flat_images(64, (3, 32, 32))
    mixed = mix(images, draw_boxes, 1, 1.0, generator())
    own = (mixed.images[:, 0] == images[:, 0]).flatten(1).sum(dim=1)
    assert torch.equal(mixed.origins.diagonal() * 1024, own.float())


def test_a_second_round_goes_on_from_the_first():
    images = flat_images()
    one, two = (mix(images, draw_boxes, rounds, 0.5, generator(3)) for rounds in (1, 2))
    found = torch.stack([(two.images[:, 0] == value).float().mean(dim=(1, 2)) for value in images[:, 0, 0, 0]], dim=1)
    fresh = one.origins.diagonal() == 1
    assert 3 < int(fresh.sum()) < COUNT - 3
    torch.testing.assert_close(two.origins[fresh], found[fresh])
    changed = (two.images != one.images).flatten(1).any(dim=1)
    assert torch.equal(two.origins[~changed], one.origins[~changed])
    for before, after, image, old in zip(one.origins, two.origins, two.images, one.images, strict=True):
        values = image[image != old].unique()
        assert len(values) <= 1, "a round pastes from one partner"
        if len(values):
            partner = int((images[:, 0, 0, 0] == values).nonzero())
            share = (float(after[partner]) - float(before[partner])) / (1 - float(before[partner]))
            expected = (1 - share) * before
            expected[partner] += share
            torch.testing.assert_close(after, expected)


@given(height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 50))
def test_boxes_are_filled_rectangles(height, width, seed):
    share = draw_boxes(torch.Size((5, 3, height, width)), generator(seed))
    assert share.shape == (5, 1, height, width)
    for box in share[:, 0]:
        rows, columns = box.any(dim=1), box.any(dim=0)
        assert torch.equal(box.bool(), rows[:, None] & columns[None, :])
        for line in (rows, columns):
            inside = line.nonzero().flatten()
            assert len(inside) == 0 or int(inside[-1] - inside[0]) + 1 == len(inside), "no gap"


def test_box_areas_are_uniform_before_the_border_cuts_them():
    share = draw_boxes(torch.Size((4000, 3, 32, 32)), generator()).mean(dim=(1, 2, 3))
    assert float(share.max()) > 0.8
    # The border leaves s (1 - s/4) of a side s on average over the centers. With s = sqrt(u) and u uniform the mean
    # area is that of u (1 - sqrt(u)/4)^2: 1/2 - 1/5 + 1/48.
    assert float(share.mean()) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.03)


@given(size=st.integers(1, 40), seed=st.integers(0, 100))
def test_cutout_blackens_one_square_and_nothing_else(size, seed):
    images = flat_images()
    before = images.clone()
    cut = cut_out(images, size, generator(seed))
    black = cut == 0
    assert torch.equal(cut[~black], images[~black])
    assert torch.equal(images, before)
    for image in black:
        assert torch.equal(image[0], image[1])
        assert 0 < int(image[0].sum()) <= size * size
        rows, columns = image[0].any(dim=1), image[0].any(dim=0)
        assert torch.equal(image[0], rows[:, None] & columns[None, :])
        assert max(int(rows.sum()), int(columns.sum())) <= size


def test_squares_are_at_most_256_pixels_and_cut_at_borders():
    images = torch.ones(500, 1, 32, 32)
    area = (cut_out(images, 16, generator()) == 0).flatten(1).sum(dim=1)
    assert int(area.max()) == 256
    assert int(area.min()) < 120
    assert len(area.unique()) > 20
    center = (cut_out(images, 1, generator()) == 0).float().mean(dim=0)[0]
    assert float(center.sum()) == pytest.approx(1)
    assert float(center.max()) < 0.02, "centers are spread"


@BOTH
def test_probability_is_per_image_and_round(draw):
    mixed = mix(flat_images(2000, (1, 16, 16)), draw, 1, 0.5, generator())
    changed = float((mixed.origins.diagonal() < 1).float().mean())
    assert changed == pytest.approx(0.5, abs=0.06)
    twice = mix(flat_images(2000, (1, 16, 16)), draw, 2, 0.5, generator())
    assert float((twice.origins.diagonal() < 1).float().mean()) == pytest.approx(0.75, abs=0.06)


@BOTH
def test_partners_differ_from_image_to_image(draw):
    partner = (mix(flat_images(), draw, 1, 1.0, generator()).origins - torch.eye(COUNT)).argmax(dim=1)
    assert len(partner.unique()) > COUNT / 3


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_probability_zero_is_the_plain_loss(make_context, name):
    defense = select(defenses, f"{name}:probability=0")[0].component
    images, labels = flat_images(), torch.arange(COUNT) % 4
    found = defense.batch_loss(small(), images, labels, make_context())
    torch.testing.assert_close(found, nn.functional.cross_entropy(small()(images), labels))


def test_the_loss_is_the_soft_cross_entropy_by_hand():
    images, labels = flat_images(3), torch.tensor([1, 0, 1])
    origins = torch.tensor([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    model = small()
    log_probabilities = model(images).double().log_softmax(dim=1)
    rows = [0.75 * log_probabilities[0, 0] + 0.25 * log_probabilities[0, 1], log_probabilities[1, 0]]
    expected = -sum([*rows, log_probabilities[2, 1]]) / 3
    assert float(Mixed(images, origins).loss(model, labels).detach()) == pytest.approx(float(expected.detach()))


@pytest.mark.parametrize("name", ["cutout", "mixup", "cutmix"])
class TestDefenses:
    def test_draws_repeat_with_the_seed_and_go_on_with_the_batch(self, make_context, name):
        defense = select(defenses, name)[0].component
        images, labels = torch.rand(COUNT, *SHAPE, generator=generator()), torch.arange(COUNT) % 4
        model = small()
        series = []
        for seed in (1, 1, 2):
            ctx = make_context(seed)
            series.append([float(defense.batch_loss(model, images, labels, ctx).detach()) for _ in range(2)])
        assert series[0] == series[1]
        assert series[0][0] != series[0][1]
        assert series[0] != series[2]

    def test_a_batch_never_waits_for_the_device(self, make_context, no_reading, name):
        defense = select(defenses, name)[0].component
        model, ctx = small(), make_context()
        with no_reading():
            defense.batch_loss(model, flat_images(), torch.arange(COUNT) % 4, ctx).backward()

    def test_a_batch_of_one_and_one_channel(self, make_context, name):
        defense = select(defenses, name)[0].component
        model = small((1, 7, 9), 3)
        loss = defense.batch_loss(model, torch.rand(1, 1, 7, 9), torch.tensor([2]), make_context())
        assert torch.isfinite(loss)

    def test_acts_during_training_only(self, name):
        acts = faces(select(defenses, name)[0].component)
        assert [face for face, there in acts.items() if there] == ["trains_differently"]


def test_the_family_selects_all_three():
    assert [selected.name for selected in select(defenses, "mixing")] == ["cutout", "mixup", "cutmix"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutout:size=0", "size must be at least 1"),
        ("mixup:rounds=0", "rounds must be at least 1"),
        ("cutmix:probability=1.5", r"probability must be in 0\.\.1"),
    ],
)
def test_nonsense_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        select(defenses, text)
