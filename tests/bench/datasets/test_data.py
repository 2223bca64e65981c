"""Data sets: the embedded shapes, archives, folders, subsets, and what is said about bad ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import DataInfo, ImageSet
from bench.datasets import decoding, loading
from bench.datasets.splits import Splits, content_digest
from bench.datasets.subsets import Sizes, Subset, stratified_rows
from bench.errors import UserError
from bench.registry import datasets
from bench.select.spec import select


def save(path: Path, **changes) -> str:
    arrays = {
        "x_train": np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8),
        "y_train": np.arange(20) % 4,
        "x_test": np.zeros((8, 8, 8, 3), dtype=np.uint8),
        "y_test": np.arange(8) % 4,
    }
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return f"npz:{path}"


def load(text, root=Path()):
    loading.load.cache_clear()
    return loading.load(text, root)


def test_shapes_are_deterministic_balanced_and_disjoint():
    one, two = load("shapes:train=200:test=100"), load("shapes:train=200:test=100")
    assert one.digests == two.digests
    assert torch.bincount(one.train.labels).tolist() == [20] * 10
    assert one.digests[0] != load("shapes:train=200:test=100:seed=1").digests[0]
    train = {image.numpy().tobytes() for image in one.train.images}
    assert not any(image.numpy().tobytes() in train for image in one.test.images)


@pytest.mark.parametrize("text", ["shapes", "shapes:train=20:test=30:clean=10:size=16"])
def test_sizes_are_known_before_a_data_set_is_read(text):
    sizes, splits = select(datasets, text)[0].component.sizes, load(text)
    assert sizes[:3] == (len(splits.train), len(splits.test), splits.train.info.num_classes)
    assert sizes.shape == splits.train.info.shape == tuple(splits.test.images.shape[1:])


@pytest.mark.parametrize(
    ("given", "train", "test"),
    [({}, 40, 10), ({"clean": 4}, 36, 10), ({"train": 12, "clean": 4}, 12, 10), ({"train": 20, "test": 6}, 20, 6)],
)
def test_sizes_of_a_part_are_those_of_its_images(given, train, test):
    info = DataInfo("any", 2, (1, 2, 2))
    images = {n: ImageSet(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.arange(n) % 2, info) for n in (40, 10)}
    part = Subset(**given)
    splits = part.cut(Splits(images[40], images[10]))
    assert (len(splits.train), len(splits.test)) == (train, test)
    assert part.part_of(Sizes(40, 10, 2, (1, 2, 2))) == (train, test, 2, (1, 2, 2))


def test_shapes_classes_cannot_be_told_by_a_linear_model_on_pixels_or_mean_colors():
    splits = load("shapes")
    for reduce in (lambda x: x, lambda x: x.mean(dim=(2, 3))):
        train, test = (reduce(s.images.float() / 255).flatten(1) for s in (splits.train, splits.test))
        train, test = ((x - train.mean(0)) for x in (train, test))
        targets = torch.nn.functional.one_hot(splits.train.labels).float() - 0.1
        weights = torch.linalg.solve(train.T @ train + 20 * torch.eye(train.shape[1]), train.T @ targets)
        accuracy = ((test @ weights).argmax(1) == splits.test.labels).float().mean().item()
        assert accuracy < 0.6


def test_a_mild_blur_does_not_destroy_the_shapes():
    images = load("shapes:train=100:test=10").train.images.float()
    kernel = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])).div(16).expand(3, 1, 3, 3)
    blurred = torch.nn.functional.conv2d(
        torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), kernel, groups=3
    )
    assert 10 * torch.log10(255**2 / (blurred - images).square().mean()) > 26


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_npz_in_both_layouts(tmp_path, layout):
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)
    text = save(tmp_path / "a.npz", x_train=x if layout == "NHWC" else x.transpose(0, 3, 1, 2), x_test=x[:8])
    splits = load(text)
    assert splits.train.info == loading.load(text, Path()).test.info
    assert splits.train.info.shape == (3, 8, 6)
    assert torch.equal(splits.train.images, torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, r"lacks x_train; it has .*Save all four in one file: np\.savez\(path, x_train=\.\.\."),
        ({"y_train": np.arange(7) % 4}, "x_train has 20 images, y_train has 7 labels"),
        ({"x_test": np.zeros((8, 9, 9, 3), dtype=np.uint8)}, "training images are"),
        (
            {"x_test": np.zeros((8, 8, 8), dtype=np.uint8)},
            r"training images are \(3, 8, 8\), test images \(1, 8, 8\); give all",
        ),
        ({"x_train": np.array([np.zeros((8, 8, 3)), np.zeros((9, 9, 3))], dtype=object)}, "one array of one size"),
    ],
)
def test_bad_archives_are_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load(save(tmp_path / "bad.npz", **changes))


def test_a_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"x\.npy holds one array; save x_train, y_train, x_test, y_test in one file"):
        load(f"npz:{tmp_path / 'x.npy'}")


def test_missing_and_damaged_archives_are_refused(tmp_path):
    with pytest.raises(UserError, match="no file"):
        load(f"npz:{tmp_path / 'none.npz'}")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(UserError, match="not a readable archive"):
        load(f"npz:{tmp_path / 'cut.npz'}")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match="not a readable archive; copy or download it again") as refused:
        load(f"npz:{tmp_path / 'text.npz'}")
    assert "pickle" not in str(refused.value), "nobody is told to unpickle a file"


def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 5), ("test", 2)):
        for k, name in enumerate(("cat", "dog")):
            for i in range(count):
                target = tmp_path / "set" / split / name / f"{i}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20 + i, 30), (100 * k, 10 * i, 0)).save(target)
    return tmp_path / "set"


def test_folder_is_decoded_once_and_mapped(tmp_path, monkeypatch):
    text = f"folder:{folder(tmp_path)}:size=16"
    first = load(text, tmp_path / "data")
    assert first.train.images.shape == (10, 3, 16, 16)
    assert first.train.labels.tolist() == [0] * 5 + [1] * 5
    assert first.train.images[7, :, 8, 8].tolist() == [100, 20, 0]
    assert first.digests[0] == content_digest(first.train)
    monkeypatch.setattr(decoding, "decode", lambda *args: pytest.fail("decoded twice"))
    assert load(text, tmp_path / "data").digests == first.digests
    (tmp_path / "set/train/cat/0.png").write_bytes((tmp_path / "set/train/dog/0.png").read_bytes())
    with pytest.raises(pytest.fail.Exception):
        load(text, tmp_path / "data")


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load(f"folder:{tmp_path}:size=16", tmp_path / "data")
    base = folder(tmp_path)
    (base / "train/cat/0.png").write_text("no image")
    with pytest.raises(UserError, match=r"0\.png is not a readable image"):
        load(f"folder:{base}:size=16", tmp_path / "data")
    (base / "train/horse").mkdir()
    with pytest.raises(UserError, match="horse has no images"):
        load(f"folder:{base}:size=16", tmp_path / "data")
    (base / "train/cat/1.png").rename(base / "train/horse/1.png")
    with pytest.raises(UserError, match="test lacks 1 class of train: horse"):
        load(f"folder:{base}:size=16", tmp_path / "data")


def test_subsets_are_stratified_and_repeatable(tmp_path):
    text = save(tmp_path / "a.npz")
    some = load(f"{text}:train=8:test=4")
    assert torch.bincount(some.train.labels).tolist() == [2] * 4
    assert some.digests == load(f"{text}:train=8:test=4").digests
    assert some.digests[0] != load(f"{text}:train=8:test=4:seed=1").digests[0]
    kept = load(f"{text}:train=8:clean=6")
    assert torch.equal(kept.train.images, some.train.images), "drawn as without clean"
    assert len(kept.digests) == 3
    rest = load(f"{text}:clean=6")
    assert (len(rest.train), len(rest.clean)) == (14, 6)
    pixels = [image.numpy().tobytes() for part in (rest.train, rest.clean) for image in part.images]
    assert sorted(pixels) == sorted(image.numpy().tobytes() for image in load(text).train.images), "each image once"
    with pytest.raises(UserError, match="train=18 and clean=3 asked for, but there are only 20 training images"):
        load(f"{text}:train=18:clean=3")
    with pytest.raises(UserError, match="clean=20 asked for"):
        load(f"{text}:clean=20")
    with pytest.raises(UserError, match="clean must be at least 0"):
        load(f"{text}:clean=-1")
    with pytest.raises(UserError, match="train=99 asked for, but there are only 20"):
        load(f"{text}:train=99")
    with pytest.raises(UserError, match="train must be at least 1"):
        load(f"{text}:train=0")


def test_stratified_rows_by_largest_remainder():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    rows = stratified_rows(labels, 7, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[rows]).tolist() == [4, 2, 1]
    assert rows.unique().numel() == 7


def test_a_missing_download_names_file_folder_and_option(tmp_path, monkeypatch):
    from urllib.error import URLError

    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", offline)
    with pytest.raises(UserError, match=rf"cifar-10-python\.tar\.gz is not in {tmp_path}.*no network.*--data-root"):
        load("cifar10", tmp_path)


def test_a_damaged_download_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **kwargs: url)
    monkeypatch.setattr(
        "torchvision.datasets.utils._urlretrieve", lambda url, file, *a, **k: Path(file).write_text("x")
    )
    with pytest.raises(UserError, match=r"cifar-100-python\.tar\.gz in .* is incomplete or damaged"):
        load("cifar100", tmp_path)


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_1"])
def test_a_damaged_file_that_cannot_be_downloaded_again_is_not_called_absent(tmp_path, monkeypatch, name):
    from urllib.error import URLError

    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", offline)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=r"cifar-10-\S+ in .* is incomplete or damaged, .*\(no network\); replace it"):
        load("cifar10", tmp_path)
