"""Folders of images of several shapes: `folder:fit=whole` and `imagenet100`, against torchvision on the same files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize
from torchvision.transforms.functional import InterpolationMode

from bench.api import ImageSet
from bench.datasets import decoding, loading
from bench.datasets.splits import Splits, content_digest
from bench.errors import UserError
from bench.registry import datasets
from bench.training.crops import center_boxes, crop_and_resize

SHAPES = [(90, 60), (60, 90), (64, 64), (200, 50), (73, 75)]  # width, height


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def folder(base: Path, test: str = "val", classes: int = 3) -> Path:
    for split, count in (("train", 5), (test, 2)):
        for k in range(classes):
            for i in range(count):
                target = base / split / f"n{k:08d}" / f"{i}.{'jpg' if i % 2 else 'png'}"
                target.parent.mkdir(parents=True, exist_ok=True)
                picture(*SHAPES[i], seed=10 * k + i).save(target)
    return base


def load(text: str, root: Path) -> Splits:
    loading.load.cache_clear()
    return loading.load(text, root)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_test_image_is_what_torchvision_makes_of_it(shape, size):
    shorter = {32: 37, 64: 73, 224: 256}[size]
    theirs = Compose([Resize(shorter, InterpolationMode.BILINEAR), CenterCrop(size)])(picture(*shape))
    assert np.array_equal(np.asarray(decoding.as_tested(picture(*shape), size)), np.asarray(theirs))


def test_a_training_image_is_whole_and_keeps_its_ratio(tmp_path):
    splits = load(f"imagenet100:path={folder(tmp_path / 'in')}:size=32:classes=3", tmp_path / "data")
    assert splits.train.info.shape == (3, 32, 32)
    assert splits.train.aspect_ratios[:5].tolist() == pytest.approx([1.5, 2 / 3, 1.0, 4.0, 73 / 75])
    whole = np.asarray(Image.open(tmp_path / "in/train/n00000000/3.jpg").resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(splits.train.images[3].permute(1, 2, 0).numpy(), whole)
    assert splits.test.aspect_ratios is None
    assert splits.digests == (content_digest(splits.train), content_digest(splits.test))


def test_the_middle_of_a_stored_training_image_is_the_test_image_of_the_same_file(tmp_path):
    base = folder(tmp_path / "in")
    train = load(f"imagenet100:path={base}:size=64:classes=3", tmp_path / "data").train
    middle, distorted = (
        crop_and_resize(train.images / 255, center_boxes(ratios)) * 255
        for ratios in (train.aspect_ratios, torch.ones(len(train)))
    )
    for row, name in ((0, "0.png"), (1, "1.jpg")):
        tested = decoding.as_tested(Image.open(base / "train/n00000000" / name).convert("RGB"), 64)
        wanted = torch.from_numpy(np.array(tested)).permute(2, 0, 1)
        gap, wrong = (float((found[row] - wanted).abs().mean()) for found in (middle, distorted))
        assert gap < 6  # levels: resized twice instead of once
        assert wrong > 4 * gap


def test_aspect_ratios_are_part_of_the_digest(random_set):
    base = random_set(4)
    one, two = (ImageSet(base.images, base.labels, base.info, torch.full((4,), r)) for r in (1.0, 2.0))
    assert len({content_digest(base), content_digest(one), content_digest(two)}) == 3


def test_whole_and_cropped_images_of_a_folder_are_kept_apart(tmp_path):
    base = folder(tmp_path / "in", test="test")
    cropped, whole = (load(f"folder:{base}:size=32:fit={fit}", tmp_path / "data") for fit in ("crop", "whole"))
    assert cropped.train.aspect_ratios is None
    assert whole.train.aspect_ratios is not None
    assert cropped.digests != whole.digests
    assert load(f"folder:{base}:size=32", tmp_path / "data").digests == cropped.digests


def test_decoded_images_are_found_again_with_their_ratios(tmp_path, monkeypatch):
    text = f"imagenet100:path={folder(tmp_path / 'in')}:size=32:classes=3"
    first = load(text, tmp_path / "data")
    monkeypatch.setattr(decoding, "decode", lambda *args: pytest.fail("decoded twice"))
    again = load(text, tmp_path / "data")
    assert torch.equal(again.train.aspect_ratios, first.train.aspect_ratios)
    assert again.digests == first.digests == (content_digest(first.train), content_digest(first.test))


def test_the_first_classes_by_name_are_taken_and_a_part_of_them_keeps_its_ratios(tmp_path):
    folder(tmp_path / "data/imagenet100", test="val", classes=4)
    (tmp_path / "data/imagenet100/test").mkdir()  # ImageNet's own: flat, without labels
    splits = load("imagenet100:size=16:classes=2:train=6:test=2", tmp_path / "data")
    assert splits.train.info.num_classes == 2
    assert len(splits.test) == 2
    ratios = {round(float(r), 3) for r in splits.train.aspect_ratios}
    assert ratios <= {1.5, 0.667, 1.0, 4.0, 0.973}
    assert len(splits.train.aspect_ratios) == 6


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*imagenet100/train"):
        load("imagenet100", tmp_path / "data")
    base = folder(tmp_path / "in")
    with pytest.raises(UserError, match=r"has 3 classes, 100 are wanted.*classes=3"):
        load(f"imagenet100:path={base}", tmp_path / "data")
    (base / "train/n00000000/0.png").write_text("no image")
    with pytest.raises(UserError, match=r"0\.png is not a readable image"):
        load(f"imagenet100:path={base}:classes=3", tmp_path / "data")
    for file in (base / "val/n00000001").iterdir():
        file.unlink()
    (base / "val/n00000001").rmdir()
    with pytest.raises(UserError, match=r"val lacks 1 class of .*train: n00000001"):
        load(f"imagenet100:path={base}:classes=3", tmp_path / "data")
    assert not list((tmp_path / "data/prepared").glob("*.part"))
    with pytest.raises(ValueError, match="fit must be crop or whole"):
        datasets["folder"].cls("x", fit="stretch")


def test_images_are_decoded_anew_when_the_decoding_changed(tmp_path, monkeypatch):
    text = f"folder:path={folder(tmp_path / 'in')}:size=32"
    load(text, tmp_path / "data")
    before = set((tmp_path / "data/prepared").glob("*.json"))
    load(text, tmp_path / "data")
    assert set((tmp_path / "data/prepared").glob("*.json")) == before
    monkeypatch.setattr("bench.datasets.files.source_digest", lambda module: "another release")
    load(text, tmp_path / "data")
    assert len(set((tmp_path / "data/prepared").glob("*.json")) - before) == 2


def test_images_are_decoded_anew_when_a_file_was_replaced_by_one_of_the_same_size_and_time(tmp_path):
    base = folder(tmp_path / "in")
    file, text = base / "train/n00000000/0.bmp", f"folder:path={base}:size=32"
    picture(40, 40, seed=1).save(file)  # without compression: all images of a shape have one size
    os.utime(file, (0, 0))
    before = load(text, tmp_path / "data")
    picture(40, 40, seed=2).save(file)
    os.utime(file, (0, 0))
    written = load(text, tmp_path / "data")
    assert not torch.equal(written.train.images, before.train.images)
    picture(40, 40, seed=1).save(tmp_path / "other.bmp")
    os.utime(tmp_path / "other.bmp", (0, 0))
    (tmp_path / "other.bmp").rename(file)
    assert load(text, tmp_path / "data").digests == before.digests
