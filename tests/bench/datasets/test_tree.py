"""Folders as people have them: ImageNet's and Tiny-ImageNet's names, litter, links to nowhere, odd images."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets import loading
from bench.datasets.splits import content_digest
from bench.datasets.tree import find_splits
from bench.errors import UserError


def image(path: Path, size=(12, 10), color=(1, 2, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def load(base, root):
    loading.load.cache_clear()
    return loading.load(f"folder:{base}:size=8", root)


@pytest.fixture
def base(tmp_path):
    """train/ and test/ with two classes of two images."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for i in range(2):
                image(tmp_path / "set" / split / name / f"{i}.png")
    return tmp_path / "set"


def test_val_is_imagenets_name_for_test(base, tmp_path):
    (base / "test").rename(base / "val")
    assert len(load(base, tmp_path).test) == 4
    image(base / "test" / "1.png")  # ImageNet's test images have no labels
    assert len(load(base, tmp_path).test) == 4


@pytest.fixture
def tiny(tmp_path):
    """Tiny-ImageNet as it is unpacked, with two classes and three validation images."""
    base = tmp_path / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        for i in range(3):
            image(base / "train" / name / "images" / f"{name}_{i}.JPEG")
        (base / "train" / name / f"{name}_boxes.txt").write_text("0\t0\t1\t1\n")
    for i, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        image(base / "val" / "images" / f"val_{i}.JPEG", color=color)
    image(base / "test" / "images" / "test_0.JPEG")
    annotate(base, "n02", "n01", "n02")
    return base


def annotate(base, *classes):
    lines = [f"val_{i}.JPEG\t{name}\t0\t0\t1\t1\n" for i, name in enumerate(classes)]
    (base / "val" / "val_annotations.txt").write_text("".join(lines))


def test_tiny_imagenet_is_read_as_it_is_unpacked(tiny, tmp_path):
    splits = load(tiny, tmp_path)
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.test.labels.tolist() == [1, 0, 1]
    assert splits.test.images[1, 1].float().mean() > 200, "the green one is of class n01"


def test_a_list_of_annotations_that_does_not_fit_is_refused(tiny, tmp_path):
    image(tiny / "val" / "images" / "val_9.JPEG")
    with pytest.raises(UserError, match=r"names no class for 1 image, the first is val_9\.JPEG"):
        load(tiny, tmp_path)
    (tiny / "val" / "val_annotations.txt").write_text("val_0.JPEG n02\n")
    with pytest.raises(UserError, match="line 1 is not `file<TAB>class"):
        load(tiny, tmp_path)


def test_an_incomplete_tiny_imagenet_is_refused(tiny, tmp_path):
    (tiny / "val" / "images" / "val_1.JPEG").unlink()
    with pytest.raises(UserError, match=r"names 1 image not in .*val/images, the first is val_1\.JPEG"):
        load(tiny, tmp_path)
    (tiny / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match=r"test has images without classes; .*val/val_annotations\.txt"):
        load(tiny, tmp_path)


def test_new_labels_of_the_same_files_are_decoded_anew(tiny, tmp_path):
    one = load(tiny, tmp_path)
    annotate(tiny, "n01", "n02", "n02")
    two = load(tiny, tmp_path)
    assert one.digests[0] == two.digests[0]
    assert one.digests[1] != two.digests[1] == content_digest(two.test)


@pytest.mark.parametrize(
    "litter", ["__MACOSX/cat/._0.png", "train/__MACOSX/x.png", "train/.DS_Store", "train/cat/.DS_Store",
               "train/cat/._0.png", "train/cat/Thumbs.db", "train/cat/.hidden.png", "train/.git/x.png"],
)  # fmt: skip
def test_litter_is_ignored(base, tmp_path, litter):
    path = base / litter
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no image")
    splits = load(base, tmp_path)
    assert (len(splits.train), splits.train.info.num_classes, splits.notes) == (4, 2, ())


def test_other_files_are_left_out_with_a_note(base, tmp_path):
    (base / "train" / "cat" / "labels.txt").touch()
    (base / "train" / "cat" / "README").touch()
    (base / "train" / "dog" / "labels.txt").touch()
    image(base / "train" / "stray.png")
    (note,) = load(base, tmp_path).notes
    assert note.endswith("train: left out what is no image of a class: 1 .png, 2 .txt, 1 README")


def test_a_class_folder_that_is_a_link_to_nowhere_is_named(base, tmp_path):
    (base / "train" / "eel").symlink_to("/nowhere/eel")
    with pytest.raises(UserError, match=r"train/eel is a link to /nowhere/eel, which is not there"):
        load(base, tmp_path)


def test_other_names_of_the_splits_are_listed(base, tmp_path):
    (base / "train").rename(base / "training")
    with pytest.raises(UserError, match=r"no folder .*/train; .*/set has test, training: rename"):
        load(base, tmp_path)


def test_validation_images_as_imagenet_unpacks_them_are_refused_by_name(base, tmp_path):
    (base / "test").rename(tmp_path / "aside")
    image(base / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match=r"val has no class folders; put the images of each class into a folder"):
        load(base, tmp_path)


def test_classes_of_one_split_are_named_with_the_split_that_lacks_them(base, tmp_path):
    (base / "test" / "dog").rename(base / "test" / "eel")
    with pytest.raises(UserError, match="test lacks 1 class of train: dog; train lacks 1 class of test: eel"):
        load(base, tmp_path)


def test_sixteen_bits_of_gray_are_rounded_to_eight(base, tmp_path):
    levels = np.array([[0, 257 * 100], [257 * 200 + 100, 65535]], dtype=np.uint16)
    Image.fromarray(levels.repeat(4, 0).repeat(4, 1)).save(base / "train" / "cat" / "0.png")
    first = load(base, tmp_path).train.images[0]
    assert first[:, ::7, ::7].tolist() == [[[0, 100], [200, 255]]] * 3


def test_images_of_a_hundred_megapixels_are_read_without_a_warning(base, tmp_path, recwarn):
    Image.new("1", (10_000, 10_000)).save(base / "train" / "cat" / "0.png")
    load(base, tmp_path)
    assert not recwarn.list


def gif(folder):
    Image.new("P", (8, 8)).save(folder / "x.gif")


def link(folder):
    (folder / "x.png").symlink_to("/nowhere/y.png")


def called_like_an_image(folder):
    (folder / "x.png").mkdir()


def empty(folder):
    (folder / "x.png").touch()


def truncated(folder):
    path = image(folder / "x.png", (64, 64))
    path.write_bytes(path.read_bytes()[:-40])


def floats(folder):
    Image.new("F", (8, 8)).save(folder / "x.tiff")


def bomb(folder):
    Image.new("1", (20_000, 20_000)).save(folder / "x.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (gif, r"x\.gif: \.gif files are not supported; convert them to PNG"),
        (link, r"x\.png is a link to /nowhere/y\.png, which is not there; restore that file or remove the link"),
        (called_like_an_image, r"x\.png is a folder, but it is called like an image"),
        (empty, r"x\.png is not a readable image.*; remove or replace it"),
        (truncated, r"x\.png is not a readable image.*; remove or replace it"),
        (floats, r"x\.tiff has 32 bits a pixel; scale it to 0\.\.255"),
        (bomb, r"x\.png has too many pixels .*400000000 pixels[^,]*; shrink or remove it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_that_cannot_be_used_are_named_with_the_remedy(base, tmp_path, make, message):
    make(base / "train" / "cat")
    with pytest.raises(UserError, match=message):
        load(base, tmp_path)


def test_images_that_a_square_hardly_shows_are_noted_also_from_the_cache(base, tmp_path):
    image(base / "train" / "cat" / "panorama.png", (100, 10))
    image(base / "train" / "cat" / "wide.png", (50, 10))
    for _ in range(2):
        (note,) = load(base, tmp_path).notes
        assert "2 of 6 images are over 4 times as long as wide (up to 10: " in note
        assert note.endswith("panorama.png)")


def test_links_to_images_work(base, tmp_path):
    (base / "train" / "cat" / "linked.png").symlink_to(base / "train" / "dog" / "0.png")
    assert len(load(base, tmp_path).train) == 5


def test_classes_of_a_part_are_numbered_anew(base):
    train, _ = find_splits(base, lambda note: None)
    part = train.of(["dog"])
    assert [k for _, k in part.files] == [0, 0]
    assert {file.parent.name for file, _ in part.files} == {"dog"}


def cifar_batches(base: Path) -> None:
    (base / "data_batch_1").write_bytes(b"")


MISTAKEN = {
    "has train and neither test nor val; move a part": lambda base: (base / "test").rename(base.parent / "elsewhere"),
    "batches of CIFAR; use --dataset cifar10 --data-root": lambda base: (
        (base / "train").rename(base / "x"),
        cifar_batches(base),
    ),
    "holds an LMDB database (data.mdb)": lambda base: (
        (base / "train").rename(base / "x"),
        (base / "data.mdb").touch(),
    ),
    "holds Parquet tables (a.parquet)": lambda base: (
        (base / "train").rename(base / "x"),
        (base / "a.parquet").touch(),
    ),
    "test lacks 1 class of train: 'cat '; train lacks 1 class of test: cat": lambda base: (base / "train/cat").rename(
        base / "train/cat "
    ),
}


@pytest.mark.parametrize("message", MISTAKEN)
def test_what_is_no_folder_of_two_splits_gets_its_own_remedy(base, tmp_path, message):
    MISTAKEN[message](base)
    with pytest.raises(UserError) as refused:
        load(base, tmp_path)
    assert message in str(refused.value)


def test_an_archive_a_split_and_a_pipe_get_their_own_remedy(base, tmp_path):
    (tmp_path / "a.zip").touch()
    os.mkfifo(tmp_path / "pipe.npz")
    for path, message in (
        (tmp_path / "a.zip", "is a file; unpack it"),
        (base / "train", f"one of two splits; give the folder with both: folder:{base}"),
        (tmp_path / "pipe.npz", "is a pipe, a device or a socket"),
    ):
        with pytest.raises(UserError) as refused:
            load(path, tmp_path)
        assert message in str(refused.value)
    with pytest.raises(UserError, match=r"npz: .* is a pipe, a device or a socket"):
        loading.load(f"npz:{tmp_path / 'pipe.npz'}", tmp_path)
