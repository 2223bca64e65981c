"""k nearest neighbors: equal to plain Python, its own training set, ties, and answers that nothing else decides."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import Context, DataInfo, FitsOnce, ImageSet
from bench.api.engine import Engine
from bench.errors import UserError
from bench.registry import victims
from bench.select.spec import select
from bench.training import accuracy, autocast, predict
from victims import knn
from victims.knn import Knn

CPU = torch.device("cpu")


def few_levels(seed: int, count: int, classes: int, levels: int) -> ImageSet:
    """Images of 12 entries with a few levels, so that many are at the same distance."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, levels, (count, 3, 2, 2), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return ImageSet(images, labels, DataInfo("few", classes, (3, 2, 2)))


def by_hand(train: ImageSet, images: torch.Tensor, k: int) -> list[int]:
    """The same rule in whole numbers, image by image."""
    stored, answers = train.images.numpy().astype(np.int64).reshape(len(train), -1), []
    for image in images.numpy().astype(np.int64).reshape(len(images), -1):
        distances = ((stored - image) ** 2).sum(axis=1)
        nearest = [int(train.labels[row]) for row in sorted(range(len(train)), key=lambda row: (distances[row], row))]
        votes = Counter(nearest[:k])
        answers.append(min(votes, key=lambda label: (-votes[label], nearest.index(label))))
    return answers


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 30),
    classes=st.integers(1, 4),
    levels=st.sampled_from([2, 4, 256]),
    k=st.integers(1, 9),
    batch=st.sampled_from([1, 7, 100]),
)
@settings(max_examples=60)
def test_it_is_the_rule_by_hand(tmp_path_factory, seed, count, classes, levels, k, batch):
    train, test = few_levels(seed, count, classes, levels), few_levels(seed + 1, 20, classes, levels)
    k = min(k, count)
    model = Knn(k=k).fit(train, Context(0, CPU, tmp_path_factory.getbasetemp()))
    expected = by_hand(train, test.images, k)
    assert predict(model, test.images, CPU, batch).tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "_ENTRIES", 36)  # three images at a time
        assert predict(model, test.images, CPU, batch).tolist() == expected


def test_the_nearest_of_its_own_images_is_itself(random_set, make_context):
    train = random_set(count=300, classes=10, shape=(3, 32, 32))
    assert accuracy(Knn(k=1).fit(train, make_context()), train, CPU) == 1


def test_ties_go_to_the_nearest_image_and_then_to_the_first(make_context):
    levels = torch.tensor([[9], [11], [12], [8], [10]], dtype=torch.uint8)
    train = ImageSet(levels.view(5, 1, 1, 1), torch.tensor([2, 1, 1, 2, 0]), DataInfo("line", 3, (1, 1, 1)))
    asked = torch.tensor([10], dtype=torch.uint8).view(1, 1, 1, 1)

    def answer(k: int) -> int:
        return int(predict(Knn(k=k).fit(train, make_context()), asked, CPU))

    # 10 (class 0), then 9 before 11 by position (2, 1), then 12 before 8 (1, 2).
    assert [answer(k) for k in (1, 2, 3, 4, 5)] == [0, 0, 0, 1, 2]


def test_precision_is_of_no_effect(random_set, make_context):
    train, test = random_set(count=200, classes=10), random_set(count=50, classes=10)
    model = Knn().fit(train, make_context())
    images_01 = test.images.float() / 255
    plain = model(images_01)
    with Engine(precision="bfloat16").applied(), autocast(CPU):
        assert torch.equal(model(images_01), plain)
    assert plain.dtype == torch.float32


def test_it_reads_nothing_back_from_the_device(random_set, make_context, no_reading):
    model = Knn().fit(random_set(), make_context())
    with no_reading():
        model(torch.rand(4, 3, 8, 8))


def test_k_is_checked(random_set):
    assert isinstance(select(victims, "knn:1")[0].component, FitsOnce)
    for k in (0, 101):
        with pytest.raises(UserError, match=rf"k must be in 1\.\.100, got {k}"):
            select(victims, f"knn:k={k}")
    with pytest.raises(UserError, match="k=50 images are to vote, and there are 40 training images; choose k less"):
        Knn(k=50).check_fit(random_set())
