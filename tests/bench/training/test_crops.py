"""Random resized crops: torchvision's pixels for a given box, torchvision's distribution of boxes; batches of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2.functional import InterpolationMode, resized_crop

from bench.api import ImageSet, Recipe
from bench.training import Batches
from bench.training.crops import center_boxes, crop_and_resize, draw_boxes

CPU = torch.device("cpu")
WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def noise(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.data(), st.integers(8, 40), st.integers(8, 40))
def test_a_box_of_whole_pixels_gives_what_torchvision_gives(data, height, width):
    box_height, box_width = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - box_height)), data.draw(st.integers(0, width - box_width))
    images = noise(1, height, width)
    box = torch.tensor([[top / height, left / width, box_height / height, box_width / width]])
    wanted = resized_crop(
        images, top, left, box_height, box_width, [height, width], InterpolationMode.BILINEAR, antialias=True
    )
    assert torch.allclose(crop_and_resize(images, box), wanted, atol=2e-5)


def test_a_large_image_agrees_with_torchvision_within_one_level_of_8_bits():
    levels = torch.randint(256, (1, 3, 224, 224), generator=seeded(), dtype=torch.uint8)
    ours = crop_and_resize(levels / 255, torch.tensor([[31 / 224, 60 / 224, 100 / 224, 83 / 224]])) * 255
    theirs = resized_crop(levels, 31, 60, 100, 83, [224, 224], InterpolationMode.BILINEAR, antialias=True)
    assert float((ours - theirs).abs().max()) <= 1.0


def test_the_whole_image_is_left_as_it_is():
    images = noise(4, 24, 17)
    assert torch.equal(crop_and_resize(images, WHOLE.expand(4, -1)), images)
    mirrored = crop_and_resize(images, WHOLE.expand(4, -1), torch.tensor([True, False, True, False]))
    assert torch.equal(mirrored[::2], images[::2].flip(-1))
    assert torch.equal(mirrored[1::2], images[1::2])


def test_a_crop_is_differentiable():
    images = noise(2, 9, 8).double().float().requires_grad_()
    boxes = draw_boxes(torch.ones(2), seeded())
    (gradient,) = torch.autograd.grad(crop_and_resize(images, boxes).sum(), images)
    assert gradient.sum().item() == pytest.approx(images.numel(), rel=1e-4)  # every output pixel is a mean of pixels
    assert (gradient == 0).any()  # outside of the box


@given(st.floats(0.1, 10), st.integers(0, 1000))
def test_a_box_lies_inside_the_image_and_keeps_the_ranges(aspect, seed):
    ratios = torch.full((50,), aspect)
    top, left, height, width = draw_boxes(ratios, seeded(seed)).T
    for start, length in ((top, height), (left, width)):
        assert (start >= 0).all()
        assert (length > 0).all()
        assert (start + length <= 1 + 1e-6).all()
    assert (width * aspect / height >= 3 / 4 - 1e-5).all()
    assert (width * aspect / height <= 4 / 3 + 1e-5).all()
    whole = min(1.0, aspect / 0.75) * min(1.0, 4 / 3 / aspect)  # the fallback's area
    assert (height * width >= min(0.08, whole) - 1e-6).all()


@pytest.mark.parametrize("aspect", [1.0, 0.4, 2.5])
def test_boxes_are_distributed_as_torchvisions(aspect):
    image = torch.empty(3, 1000, round(1000 * aspect), device="meta")  # so large that its whole pixels do not show
    torch.manual_seed(0)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(4000)])
    theirs = theirs / torch.tensor([1000, 1000 * aspect, 1000, 1000 * aspect])
    ours = draw_boxes(torch.full((4000,), aspect), seeded())
    shares = torch.linspace(0.05, 0.95, 10)
    for column in range(4):
        gap = ours[:, column].quantile(shares) - theirs[:, column].quantile(shares)
        assert gap.abs().max() < 0.04, f"column {column}: {gap}"  # 3 standard errors of a median of 4,000 are 0.024


def test_the_ratio_is_log_uniform():
    _, _, height, width = draw_boxes(torch.ones(100_000), seeded()).T
    assert abs(float((width / height).log().mean())) < 0.002  # 0.0005 is one standard error; uniform, it is 0.027


def test_an_image_too_long_for_ten_draws_gives_its_middle():
    assert torch.allclose(
        draw_boxes(torch.tensor([100.0]), seeded()), torch.tensor([0.0, 0.49333, 1.0, 0.01333]), atol=1e-4
    )
    assert torch.allclose(
        draw_boxes(torch.tensor([0.01]), seeded()), torch.tensor([0.49333, 0.0, 0.01333, 1.0]), atol=1e-4
    )


def test_the_box_of_test_images_is_a_square_of_seven_eighths_of_the_shorter_side():
    boxes = center_boxes(torch.tensor([1.0, 2.0, 0.5]))
    assert boxes[0].tolist() == [0.0625, 0.0625, 0.875, 0.875]
    assert boxes[1].tolist() == [0.0625, 0.28125, 0.875, 0.4375]
    assert boxes[2].tolist() == [0.28125, 0.0625, 0.4375, 0.875]


def batches(train: ImageSet, shuffle: bool = False, **options: bool) -> Batches:
    return Batches(train, CPU, 8, seeded(), random_resized_crop=True, shuffle=shuffle, **options)


def test_every_image_of_every_epoch_has_its_own_box(random_set):
    same = random_set(16)
    same = ImageSet(same.images[:1].expand(16, -1, -1, -1).contiguous(), same.labels, same.info)
    found = batches(same)
    once, again = (torch.cat([b.images_01 for b in found]) for _ in range(2))
    assert len(torch.unique(once.flatten(1), dim=0)) == 16
    assert not torch.isclose(once, again).flatten(1).all(dim=1).any()
    assert torch.equal(once, torch.cat([b.images_01 for b in batches(same)]))
    assert once.dtype == torch.float32
    assert 0 <= float(once.min()) <= float(once.max()) <= 1 + 1e-6


def test_a_fed_set_gives_the_batches_of_a_resident_one(random_set, monkeypatch):
    train = random_set(20)
    resident = list(batches(train, flip=True))
    monkeypatch.setattr("bench.training.batches._fits", lambda images, device: False)
    for one, two in zip(resident, batches(train, flip=True), strict=True):
        assert torch.equal(one.images_01, two.images_01)


def test_a_squeezed_image_is_cropped_in_its_own_geometry(random_set):
    """What was square in the original is square, up to the drawn ratio, whatever the stored square made of it."""
    ramp = torch.arange(64).expand(64, 64)
    square = torch.stack([ramp, ramp.T, ramp]).to(torch.uint8)  # red grows with the column, green with the row
    base = random_set(200, shape=(3, 64, 64))
    aspect = torch.tensor([2.0, 0.5]).repeat(100)
    train = ImageSet(square.expand(200, -1, -1, -1).contiguous(), base.labels, base.info, aspect)
    found = list(batches(train, shuffle=True))
    seen = torch.cat([b.images_01 for b in found])[:, :, 16:48, 16:48]
    across = (seen[:, 0, :, -1] - seen[:, 0, :, 0]).mean(1)
    down = (seen[:, 1, -1] - seen[:, 1, 0]).mean(1)
    ratio = aspect[torch.cat([b.rows for b in found])] * across / down  # of the box, in the original image
    assert float(ratio.min()) > 0.74
    assert float(ratio.max()) < 1.34
    assert float(ratio.std()) > 0.1


def test_noise_for_a_rehearsal_has_the_shape_of_a_batch(random_set):
    found = batches(random_set(20))
    generator = seeded()
    noise = [found.augmented(found.noise(size, generator)) for size in found.sizes]
    assert [batch.images_01.shape for batch in noise] == [(4, 3, 8, 8), (8, 3, 8, 8)]


def test_two_kinds_of_crops_exclude_each_other(random_set):
    with pytest.raises(ValueError, match=r"crop_padding=4 are two kinds.*crop_padding=0"):
        Recipe(random_resized_crop=True)
    with pytest.raises(ValueError, match="two kinds of random crops"):
        batches(random_set(), crop_padding=2)
    assert Recipe(random_resized_crop=True, crop_padding=0).random_resized_crop


def test_aspect_ratios_go_with_their_images(random_set):
    base = random_set(6)
    ratios = torch.tensor([1.0, 2.0, 0.5, 1.5, 3.0, 0.2])
    train = ImageSet(base.images, base.labels, base.info, ratios)
    assert train.take(torch.tensor([4, 1])).aspect_ratios.tolist() == [3.0, 2.0]
    for wrong in (ratios[:3], ratios.double(), ratios * 0, ratios * float("nan")):
        with pytest.raises(ValueError, match="aspect_ratios must be"):
            ImageSet(base.images, base.labels, base.info, wrong)
