"""Orthogonal projection and its authors' augmentation."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2.functional import (
    InterpolationMode,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    affine,
)

from bench.api import DataInfo, ImageSet
from bench.datasets import loading
from bench.errors import UserError
from bench.registry import defenses
from bench.select.matrix import make_matrix
from bench.select.settings import Settings
from bench.select.spec import select
from defenses.orthogonal_projection.augmentation import Augmentation, moved_at_random, recolored
from defenses.orthogonal_projection.projection import OrthogonalProjection, basis


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def one_pixel_poison(smooth_set):
    """A class is told by one white pixel: linearly separable, and the same for all its images."""
    clean = smooth_set(80, classes=4, shape=(3, 12, 12))
    images = clean.images.clone().clamp(30, 200)
    images[torch.arange(80), :, 3, 2 * clean.labels] = 255
    return ImageSet(images, clean.labels, clean.info)


def test_a_basis_is_orthonormal_and_spans_the_rows():
    rows = torch.randn(6, 40, generator=generator())
    rows[3] = 2 * rows[1]
    found = basis(rows)
    assert found.shape == (40, 5), "a repeated row is no further direction"
    torch.testing.assert_close(found.T @ found, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(found @ (found.T @ rows.T), rows.T, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        (swapped := basis(rows.flip(0))) @ swapped.T, found @ found.T, atol=1e-5, rtol=0
    )  # the order of the rows makes no difference


@pytest.mark.parametrize("center", [True, False])
def test_projected_images_have_nothing_left_in_the_directions(smooth_set, make_context, center):
    poison = one_pixel_poison(smooth_set)
    defense = OrthogonalProjection(epochs=10, batch_size=20, center=center)
    directions = defense.directions(poison, make_context())
    purified = defense.purify(poison, ctx := make_context())
    images = poison.images.flatten(1).float() / 255
    middle = images.mean(dim=0) if center else 0
    exact = images - ((images - middle) @ directions) @ directions.T
    expected = exact.clamp(0, 1).mul(255).round().to(torch.uint8).view(poison.images.shape)
    assert (expected.int() - purified.images.int()).abs().max() <= 1, "a tie may be rounded either way"
    assert float(((exact - middle) @ directions).abs().max()) < 1e-4
    assert ctx.logs["directions"] == 4
    assert 0 <= ctx.logs["returned_share"] < 0.2
    assert 0 < ctx.logs["clipped_share"] < 0.2


def test_the_demo_trains_the_classifier_long_enough_to_clip_little(make_context, tmp_path):
    """In the paper's batches these images give 20 steps, after which four in ten values are clipped."""
    chosen = make_matrix([Settings(preset="demo", defenses="op")]).defenses[1]
    ctx = make_context()
    chosen.component.purify(loading.load("shapes:train=500", tmp_path).train, ctx)
    assert ctx.logs["clipped_share"] < 0.02


def test_fewer_values_are_clipped_around_the_mean_image(smooth_set, make_context):
    clipped = []
    for center in (True, False):
        ctx = make_context()
        OrthogonalProjection(epochs=10, batch_size=20, center=center).purify(one_pixel_poison(smooth_set), ctx)
        clipped.append(ctx.logs["clipped_share"])
    assert clipped[0] < clipped[1]


def test_it_removes_a_linear_shortcut(smooth_set, make_context):
    """The white pixel of a class stands out from the same place in other classes much less than before."""
    poison = one_pixel_poison(smooth_set)
    purified = OrthogonalProjection(epochs=40, batch_size=20).purify(poison, make_context())

    def contrast(data):
        return sum(
            float(data.images[data.labels == k, :, 3, 2 * k].float().mean())
            - float(data.images[data.labels != k, :, 3, 2 * k].float().mean())
            for k in range(4)
        )

    assert contrast(purified) < 0.7 * contrast(poison)


def test_without_bounds_nothing_moves(random_set):
    images = random_set(6, shape=(3, 10, 14)).images.float() / 255
    torch.testing.assert_close(moved_at_random(images, 0.0, 0.0, generator()), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(recolored(images, 0.0, generator()), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_changed_as_torchvision_changes_it_alone(channels: int) -> None:
    images = functional.interpolate(
        torch.rand(8, channels, 4, 4, generator=generator()), size=(16, 24), mode="bilinear"
    )
    draws = 2 * torch.rand((3, 8), generator=generator()) - 1
    colored, moved = [], []
    for image, (first, second, third) in zip(images, draws.T.tolist(), strict=True):
        bright = adjust_brightness(image, 1 + 0.2 * first)
        colored.append(adjust_saturation(adjust_contrast(bright, 1 + 0.2 * second), 1 + 0.2 * third))
        turned = {"angle": 10 * first, "translate": [0, 0], "scale": 1 + 0.2 * third, "shear": [10 * second, 0.0]}
        moved.append(affine(image, interpolation=InterpolationMode.BILINEAR, **turned))
    torch.testing.assert_close(recolored(images, 0.2, generator()), torch.stack(colored), atol=1e-4, rtol=0)
    torch.testing.assert_close(moved_at_random(images, 10, 0.2, generator()), torch.stack(moved), atol=1e-4, rtol=0)


def test_an_oblong_image_is_turned_and_not_distorted_but_for_shear():
    """In images that hold their own coordinates, the slopes at the center are the map: a turn keeps rows' distances."""
    height, width = 40, 60
    rows, columns = torch.meshgrid(torch.arange(height) / 100, torch.arange(width) / 100, indexing="ij")
    moved = moved_at_random(torch.stack([columns, rows])[None].expand(50, -1, -1, -1), 30.0, 0.2, generator())
    middle = moved[:, :, height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1] * 100
    right = (middle[..., 1] - middle[..., 0]).mean(dim=2)  # (50, 2): how far the source moves per column
    down = (middle[:, :, 1] - middle[:, :, 0]).mean(dim=2)
    area = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
    size = area.rsqrt()
    assert 0.79 < float(size.min()) < 0.9 < 1.1 < float(size.max()) < 1.21
    torch.testing.assert_close(torch.hypot(right[:, 1], down[:, 1]), 1 / size, atol=1e-3, rtol=0)
    turns = torch.atan2(-right[:, 1], down[:, 1]).rad2deg()
    assert -30 < float(turns.min()) < -20 < 20 < float(turns.max()) < 30
    torch.testing.assert_close(middle.mean(dim=(0, 2, 3)), torch.tensor([29.5, 19.5]), atol=1e-3, rtol=0)


def test_the_control_augments_as_the_whole_does_and_leaves_the_images_alone(random_set, make_context):
    train = random_set(12)
    both = select(defenses, "op-aug")[0].component
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    images = train.images.float() / 255
    losses = [one.batch_loss(model, images, train.labels, make_context(5)) for one in (both, Augmentation())]
    assert torch.equal(*losses)
    assert isinstance(both, OrthogonalProjection)
    assert not hasattr(Augmentation(), "purify")


def test_one_channel_works(make_context):
    images = torch.rand(8, 1, 9, 9, generator=generator())
    model = nn.Sequential(nn.Flatten(), nn.Linear(81, 3))
    assert Augmentation().batch_loss(model, images, torch.arange(8) % 3, make_context()).isfinite()
    train = ImageSet((images * 255).byte(), torch.arange(8) % 3, DataInfo("gray", 3, (1, 9, 9)))
    assert OrthogonalProjection(epochs=1).purify(train, make_context()).images.shape == train.images.shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("op:epochs=0", "epochs must be at least 1"),
        ("op-aug:lr=0", "lr must be a finite number > 0"),
        ("op-aug:degrees=90", "degrees must be in 0..45"),
        ("aug:jitter=1", r"jitter must be in \[0, 1\)"),
        ("aug:cutmix=2", "cutmix is a probability"),
    ],
)
def test_bad_parameters(text, message):
    with pytest.raises(UserError, match=message):
        select(defenses, text)
