"""Sets that stay in memory: the same batches as resident ones, fetched ahead."""

import pytest
import torch

from bench.training import Batches, batches
from bench.training.feed import feed

CPU = torch.device("cpu")


@pytest.mark.parametrize("options", [{}, {"crop_padding": 2, "flip": True}, {"drop_last": True}, {"shuffle": False}])
def test_fed_batches_equal_resident_ones(random_set, monkeypatch, tmp_path, options):
    images = random_set(21)
    path = tmp_path / "images.u8"
    mapped = torch.from_file(str(path), shared=True, size=images.images.numel(), dtype=torch.uint8)
    mapped.copy_(images.images.flatten())
    from_file = type(images)(mapped.view(images.images.shape), images.labels, images.info)

    def two_epochs(train):
        passes = Batches(train, CPU, 4, torch.Generator().manual_seed(1), **options)
        return [batch for _ in range(2) for batch in passes]

    resident = two_epochs(images)
    monkeypatch.setattr(batches, "_fits", lambda images, device: False)
    fed = two_epochs(from_file)
    assert len(resident) == len(fed)
    for one, two in zip(resident, fed, strict=True):
        assert torch.equal(one.images_01, two.images_01)
        assert torch.equal(one.labels, two.labels)
        assert torch.equal(one.rows, two.rows)


def test_a_batch_stays_what_it_was_while_later_ones_come():
    images = torch.arange(10, dtype=torch.uint8)
    rows = [torch.tensor([number, 9 - number]) for number in range(5)]
    assert [batch.tolist() for batch in list(feed(images, rows, CPU))] == [where.tolist() for where in rows]


def test_an_epoch_can_be_left_early():
    fed = feed(torch.zeros(10, 1), [torch.tensor([0])] * 10, CPU)
    next(fed)
    fed.close()


def test_a_position_outside_of_the_set_is_an_error():
    with pytest.raises(IndexError):
        list(feed(torch.zeros(3, 1), [torch.tensor([0]), torch.tensor([3])], CPU))
