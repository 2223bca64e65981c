"""What people store as labels and images: read with a note, or refused with the remedy."""

import re

import numpy as np
import pytest
import torch

from bench.datasets import loading
from bench.datasets.arrays import check_classes, read_images
from bench.datasets.inputs import read_labels
from bench.errors import UserError

PLAIN = np.array([2, 0, 1, 1])
EYE = np.eye(3)
GRAY = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
COLOR = np.stack([GRAY, GRAY + 1, GRAY + 2], axis=1)
REAL = COLOR / 255


@pytest.mark.parametrize(
    ("array", "note"),
    [
        (PLAIN, ""),
        (PLAIN.astype(np.uint8), ""),
        (PLAIN[:, None], r"labels of shape \(4, 1\) were read as \(4,\)"),
        (EYE[PLAIN], r"one-hot labels of shape \(4, 3\) were read as class numbers"),
        (EYE[PLAIN].astype(np.uint8), "one-hot"),
        (EYE[PLAIN].astype(bool), "one-hot"),
        (PLAIN.astype(np.float32), "labels of type float32 are whole numbers and were read as integers"),
        (PLAIN[:, None].astype(float), "float64"),
    ],
    ids=["int64", "uint8", "column", "one-hot", "one-hot-uint8", "one-hot-bool", "float", "float-column"],
)
def test_labels_are_read_and_never_silently_changed(array, note):
    notes = []
    assert read_labels(array, "a.npz: y_train", notes.append).tolist() == PLAIN.tolist()
    assert bool(notes) == bool(note)
    if note:
        assert re.search(note, " ".join(notes))
        assert all("a.npz: y_train" in said for said in notes)


def test_truth_values_are_two_classes():
    notes = []
    assert read_labels(np.array([True, False]), "y", notes.append).tolist() == [1, 0]
    assert "were read as 0 and 1" in notes[0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([]), "no labels"),
        (np.array(["cat", "dog"]), "for example .*'cat'.*return_inverse"),
        (np.array([0.0, 1.5]), "label 1.5 of image 1 is no class number"),
        (np.array([0.0, np.nan]), "label nan of image 1"),
        (np.array([[0.5, 0.5], [0, 1]]), "row 0 is not one-hot.*soft"),
        (np.array([[1, 1], [0, 1]]), "row 0 is not one-hot.*several labels"),
        (np.array([0, -1]), "found -1; renumber all labels .* or remove the images of -1"),
        (np.array([1j, 0]), "labels are of type complex128"),
        (np.zeros((4, 2, 2)), r"shape \(4, 2, 2\); give \(4,\)"),
    ],
)
def test_other_labels_are_refused_with_the_remedy(array, message):
    with pytest.raises(UserError, match=message):
        read_labels(array, "y", lambda note: None)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([1, 2, 3], [1], "training labels are 1..3; number classes from 0: subtract 1"),
        ([0, 2], [0], r"missing in y_train: 1\. Renumber both with np.unique"),
        ([0, 1], [0, 5], "missing in y_train: 5"),
        ([0, 1], [1, 2], r"training labels are 0..1, test labels 1..2: subtract 1 from y_test"),
    ],
)
def test_gaps_and_one_based_labels_get_the_remedy(train, test, message):
    with pytest.raises(UserError, match=message):
        check_classes(torch.tensor(train), torch.tensor(test), "npz: a.npz")


@pytest.mark.parametrize(
    ("array", "expected", "note"),
    [
        (COLOR, COLOR, ""),
        (COLOR.transpose(0, 2, 3, 1), COLOR, ""),
        (GRAY, GRAY[:, None], "read as gray"),
        (GRAY[..., None], GRAY[:, None], ""),
    ],
    ids=["NCHW", "NHWC", "NHW", "NHW1"],
)
def test_layouts_of_images(array, expected, note):
    notes = []
    assert torch.equal(read_images(array, "x", notes.append), torch.from_numpy(expected))
    assert note in " ".join(notes)
    assert bool(notes) == bool(note)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (REAL, r"values in \[0, 1\]: multiply by 255, round, and cast"),
        (REAL.astype(np.float32) * 0 + 1, "multiply by 255"),
        (np.where(REAL > 0.4, np.nan, REAL), r"values are NaN or infinite \(the first at \[\d+, \d+, \d+, \d+\]\)"),
        (COLOR.astype(float), "whole numbers in 0..255: cast them"),
        (COLOR.astype(np.int64), "whole numbers in 0..255: cast them"),
        (COLOR + 0.5, "values in 0..255: round and cast"),
        ((REAL - 0.5) / 0.25, "from -2 to .* look normalized: undo mean and deviation"),
        (
            COLOR.astype(np.int16) * 9,
            r"whole numbers up to 1089 are not 8-bit images; for 16 bits: np.round\(x / 257\)",
        ),
        (COLOR.reshape(4, -1), r"shape \(4, 90\); give \(N, H, W, C\)"),
        (np.zeros((4, 3072), np.uint8), r"reshape the rows of 3072 values: x.reshape\(-1, 3, 32, 32\)"),
        (np.zeros((4, 4, 8, 8), np.uint8), r"drop the fourth channel \(alpha\)"),
        (np.zeros((4, 8, 8, 5), np.uint8), "no axis of 1 or 3 channels"),
        (np.array([["a"]]), "give an array of numbers"),
    ],
)
def test_other_images_are_refused_with_the_right_sentence(array, message):
    with pytest.raises(UserError, match=message):
        read_images(array, "x", lambda note: None)


def test_notes_reach_the_splits_and_survive_a_subset(tmp_path):
    labels = np.arange(20) % 4
    arrays = {"x_train": np.zeros((20, 8, 8), np.uint8), "x_test": np.zeros((8, 8, 8), np.uint8)}
    np.savez(tmp_path / "a.npz", **arrays, y_train=np.eye(4)[labels], y_test=np.arange(8)[:, None] % 4)
    loading.load.cache_clear()
    splits = loading.load(f"npz:{tmp_path / 'a.npz'}:train=8", tmp_path)
    assert splits.train.info.shape == (1, 8, 8)
    for part in ("y_train: one-hot", "y_test: labels of shape", "x_train: images of shape", "x_test: images of shape"):
        assert sum(part in note for note in splits.notes) == 1
    assert len(splits.notes) == 4
