"""ISS and JPEG against the imaging library, and their invariants."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from bench.measure.diagnosis import psnr_db
from bench.registry import defenses
from bench.select.spec import select
from defenses.iss import reduce_bits, to_gray
from defenses.jpeg import codec, planes
from defenses.jpeg.codec import jpeg_round_trip, round_trip_in_threads
from defenses.jpeg.planes import round_trip_in_planes

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10-5k.npz"


def pillow_jpeg(images: torch.Tensor, quality: int) -> torch.Tensor:
    out = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(buffer, "JPEG", quality=quality)
        out.append(np.atleast_3d(np.asarray(Image.open(buffer))).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(out))


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_equals_the_imaging_library_within_one_level(tiny, quality):
    images = tiny.train.images
    difference = (jpeg_round_trip(images, quality).int() - pillow_jpeg(images, quality).int()).abs()
    assert difference.max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (33, 40), (40, 23), (7, 5), (3, 4), (1, 1)])
def test_jpeg_of_any_size_equals_the_imaging_library_within_one_level(size, channels):
    images = torch.randint(0, 256, (3, channels, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for quality in (1, 10, 75, 100):
        difference = jpeg_round_trip(images, quality).int() - pillow_jpeg(images, quality).int()
        assert difference.abs().max() <= 1, quality


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [64, 65])
def test_threads_and_planes_agree_within_one_level(monkeypatch, side, channels):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, channels, side, 64), generator=generator, dtype=torch.uint8)
    in_threads, in_planes = (code(images, 10) for code in (round_trip_in_threads, round_trip_in_planes))
    assert torch.equal(in_threads, pillow_jpeg(images, 10))
    assert (in_threads.int() - in_planes.int()).abs().max() <= 1
    calls = []
    monkeypatch.setattr(codec, "round_trip_in_planes", lambda *of: calls.append("planes") or in_planes)
    monkeypatch.setattr(codec, "round_trip_in_threads", lambda *of: calls.append("threads") or in_threads)
    jpeg_round_trip(images, 10)
    assert calls == ["planes" if side == 64 else "threads"]


def test_images_do_not_influence_each_other_in_a_strip(tiny, monkeypatch):
    together = jpeg_round_trip(tiny.train.images, 10)
    alone = torch.cat([jpeg_round_trip(image, 10) for image in tiny.train.images.split(1)])
    assert torch.equal(alone, together)
    monkeypatch.setattr(planes, "_TALLEST", 100)  # three images a strip
    assert torch.equal(jpeg_round_trip(tiny.train.images, 10), together)


def test_gray_equals_the_imaging_library(tiny):
    for image, gray in zip(tiny.train.images, to_gray(tiny.train.images), strict=True):
        expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert np.array_equal(gray[0].numpy(), expected)
        assert torch.equal(gray[0], gray[2])


IMAGES = arrays.arrays(np.uint8, (2, 3, 8, 8))


@given(IMAGES)
def test_gray_twice_is_gray_once(images):
    once = to_gray(torch.from_numpy(images))
    assert torch.equal(to_gray(once), once)


@given(IMAGES, st.integers(1, 7))
def test_bit_depth_is_idempotent_and_keeps_few_levels(images, bits):
    once = reduce_bits(torch.from_numpy(images), bits)
    assert torch.equal(reduce_bits(once, bits), once)
    assert len(once.unique()) <= 2**bits
    assert torch.equal(once, (torch.from_numpy(images).int() // 2 ** (8 - bits) * 2 ** (8 - bits)).to(torch.uint8))


def test_two_bits_are_the_four_levels_of_the_paper():
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert reduce_bits(ramp, 2).unique().tolist() == [0, 64, 128, 192]


def test_a_second_compression_changes_little(tiny):
    once = jpeg_round_trip(tiny.train.images, 10)
    assert (jpeg_round_trip(once, 10) != once).float().mean() < 0.03


@pytest.mark.parametrize("value", [0, 17, 255])
def test_a_constant_image_stays_constant(value):
    flat = torch.full((1, 3, 32, 32), value, dtype=torch.uint8)
    assert len(jpeg_round_trip(flat, 10).unique()) == 1


@pytest.mark.parametrize(("quality", "decibel"), [(10, 23.0), (30, 26.4), (50, 27.9), (75, 29.9), (90, 33.1)])
def test_quality_on_real_images(quality, decibel):
    if not REAL.is_file():
        pytest.skip("needs the lossless CIFAR-10 subset beside the checkout (shared/data)")
    images = torch.from_numpy(np.load(REAL)["x_train"][:2000].transpose(0, 3, 1, 2).copy())
    assert psnr_db(jpeg_round_trip(images, quality), images) == pytest.approx(decibel, abs=0.3)


def test_bit_depth_on_real_images():
    if not REAL.is_file():
        pytest.skip("needs the lossless CIFAR-10 subset beside the checkout (shared/data)")
    images = torch.from_numpy(np.load(REAL)["x_train"][:2000].transpose(0, 3, 1, 2).copy())
    assert psnr_db(reduce_bits(images, 2), images) == pytest.approx(16.8, abs=0.3)


@pytest.mark.parametrize("name", ["iss-gray", "iss-jpeg", "iss-bdr", "jpeg"])
def test_test_images_are_seen_the_same_way_only_if_asked(tiny, make_context, name):
    off, on = (select(defenses, f"{name}:test_view={view}")[0].component for view in ("false", "true"))
    assert off.view(tiny.test.images) is tiny.test.images
    assert torch.equal(on.view(tiny.train.images), on.purify(tiny.train, make_context()).images)


@pytest.mark.parametrize("text", ["iss-bdr:bits=0", "iss-bdr:bits=8", "jpeg:quality=101"])
def test_nonsense_is_refused(text):
    from bench.errors import UserError

    with pytest.raises(UserError, match=r"must be in 1\.\."):
        select(defenses, text)


def test_a_sweep_selects_one_row_per_quality():
    chosen = select(defenses, "jpeg-sweep")
    assert [one.text for one in chosen] == [f"jpeg:quality={q}" if q != 50 else "jpeg" for q in (10, 30, 50, 70, 90)]
    viewing = select(defenses, "jpeg-sweep:test_view=true")
    assert [one.component.quality for one in viewing] == [10, 30, 50, 70, 90]
    assert all(one.component.test_view for one in viewing)
    assert "jpeg-sweep" not in defenses, "no row of its own, and no best of them"
