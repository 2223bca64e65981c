"""UEraser: the largest loss of several strong augmentations, image by image."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.api import Recipe
from bench.errors import UserError
from bench.registry import defenses
from bench.select.spec import select
from bench.training import to_float
from defenses.ueraser import Augmenter, UEraser, fractal_field


def images(random_set, count=24):
    return to_float(random_set(count, shape=(3, 16, 16)).images)


def linear(classes=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, classes))


@pytest.mark.parametrize("jpeg_quality", [None, 10])
def test_augmented_images_are_images_and_each_has_its_own_field(random_set, make_context, jpeg_quality):
    flat = torch.full((24, 3, 16, 16), 0.5)
    augmenter = Augmenter(1.0, jpeg_quality, make_context())
    for batch in (images(random_set), flat):
        before = batch.clone()
        found = torch.stack([augmenter(batch) for _ in range(20)])  # all operations of TrivialAugment
        assert torch.equal(batch, before)
        assert found.shape == (20, *batch.shape)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert bool(found.isfinite().all())
    assert len({tuple(image.flatten().tolist()) for image in found[0]}) == 24


@pytest.mark.parametrize("roughness", [0.3, 0.7])
def test_a_plasma_is_that_of_kornia(roughness):
    """The same mean, spread and roughness, over many fields; without random numbers a field is its corners' plane."""
    from kornia.contrib import diamond_square

    shape = torch.Size((400, 1, 32, 32))
    generator = torch.Generator().manual_seed(0)
    draw = lambda size: torch.rand(size, generator=generator)  # noqa: E731
    ours = fractal_field(shape, torch.full((400, 1, 1, 1), roughness), draw)
    theirs = diamond_square(shape, roughness, random_fn=lambda size, **given: draw(size))
    for measure in (torch.Tensor.mean, torch.Tensor.std, lambda field: field.diff(dim=3).abs().mean()):
        assert float(measure(ours)) == pytest.approx(float(measure(theirs)), rel=0.05)
    assert 0 <= float(ours.min()) <= float(ours.max()) <= 1
    first = fractal_field(torch.Size((2, 3, 17, 17)), torch.zeros(2, 1, 1, 1), draw)
    corners = first[:, :, ::16, ::16]
    torch.testing.assert_close(first[:, :, 8, 8], corners.mean(dim=(2, 3)))
    assert torch.equal(first.amax(dim=(2, 3)), corners.amax(dim=(2, 3)))
    assert fractal_field(torch.Size((2, 3, 20, 9)), torch.zeros(2, 1, 1, 1), draw).shape == (2, 3, 20, 9)


def test_a_channel_shuffle_moves_whole_channels(random_set, make_context):
    batch = images(random_set)
    shuffled = Augmenter(0.0, None, make_context())._shuffled(batch)
    for image, result in zip(batch, shuffled, strict=True):
        assert sorted(map(tuple, image.flatten(1).tolist())) == sorted(map(tuple, result.flatten(1).tolist()))
    assert not torch.equal(batch, shuffled)


def test_the_loss_is_the_largest_of_each_image(random_set, make_context):
    batch, labels, model = images(random_set), torch.arange(24) % 4, linear()
    augmenter = Augmenter(0.5, None, make_context(3))
    losses = [functional.cross_entropy(model(augmenter(batch)), labels, reduction="none") for _ in range(4)]
    expected = torch.stack(losses).max(dim=0).values.mean()
    found = UEraser(variant="max", draws=4).batch_loss(model, batch, labels, make_context(3))
    torch.testing.assert_close(found, expected)
    lite = UEraser(variant="lite", draws=4).batch_loss(model, batch, labels, make_context(3))
    torch.testing.assert_close(lite, losses[0].mean())
    assert expected > torch.stack(losses).mean(dim=1).max()


def test_standard_draws_several_times_in_the_first_epochs_alone(random_set, make_context):
    batch, labels = images(random_set, 8), torch.arange(8) % 4
    defense = UEraser(draws=3, worst_epochs=2)
    calls = []
    model = linear()
    model.register_forward_hook(lambda *given: calls.append(1))
    ctx = make_context()
    counts = []
    for ctx.epoch in range(4):
        calls.clear()
        defense.batch_loss(model, batch, labels, ctx)
        counts.append(len(calls))
    assert counts == [3, 3, 1, 1]
    assert [UEraser(variant="max").draws_in(199), UEraser(variant="lite").draws_in(0)] == [5, 1]


def test_the_training_tells_the_epoch(tmp_path, monkeypatch):
    from bench.run.python import run_matrix

    seen = []
    monkeypatch.setattr(UEraser, "draws_in", lambda self, epoch: seen.append(epoch) or 1)
    run_matrix(
        "none",
        "ueraser:epochs=3:lr=none",
        "linear",
        preset="demo",
        dataset="shapes:train=96:test=32",
        store=tmp_path / "s",
    )
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}


def test_recipe_and_costs():
    assert UEraser().change_recipe(Recipe()) == Recipe(epochs=200, lr=0.01, schedule="multistep", milestones=(100, 150))
    assert UEraser(epochs=None, lr=None).change_recipe(Recipe(epochs=7)) == Recipe(epochs=7)
    assert UEraser().step_passes == 6
    assert (UEraser(variant="lite").step_passes, UEraser(variant="max").step_passes) == (3, 15)


def test_a_single_pixel_shortcut_is_blurred_by_the_augmentation(make_context):
    """A class is told by a spot in the corner: after UEraser a linear rule finds it far less often."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    batch = 0.4 + 0.2 * torch.rand(64, 3, 16, 16, generator=generator)
    batch[:, :, 0, 0] = labels[:, None].float()
    augmented = torch.cat([Augmenter(1.0, None, make_context(seed))(batch) for seed in range(8)])
    told = (augmented[:, :, 0, 0].mean(dim=1) > 0.5).long() == labels.repeat(8)
    assert (batch[:, :, 0, 0].mean(dim=1) > 0.5).long().equal(labels)
    assert float(told.float().mean()) < 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ueraser:draws=0", "draws must be at least 1"),
        ("ueraser:plasma=2", "plasma is a probability"),
        ("ueraser:jpeg_quality=0", "jpeg_quality must be in 1..100"),
        ("ueraser:variant=most", "lite"),
    ],
)
def test_bad_parameters(text, message):
    with pytest.raises(UserError, match=message):
        select(defenses, text)
