"""The computed floor of a step: counts by hand."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gpu import floor


def test_a_convolution_by_hand():
    with FakeTensorMode():
        layer, images = nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.rand(2, 3, 4, 4)
        with torch.no_grad():
            work = floor._counted(lambda: layer(images).relu())
    assert work.launches == 2
    assert work.operations == 2 * 2 * 8 * 4 * 4 * 3 * 3 * 3
    weights, read, written = 4 * 8 * 3 * 9, 4 * 2 * 3 * 16, 4 * 2 * 8 * 16
    assert work.bytes == weights + read + written + 2 * written
    assert work.seconds == pytest.approx(2 * floor.KERNEL_SECONDS)


def test_views_launch_nothing_and_a_training_step_counts_both_gradients():
    with FakeTensorMode():
        layer, images = nn.Conv2d(3, 8, 3), torch.rand(2, 3, 4, 4)
        forward = floor._counted(lambda: layer(images).flatten(1)[:, :2].detach())
        both = floor._counted(lambda: layer(images).sum().backward())
        images.requires_grad_()
        three = floor._counted(lambda: layer(images).sum().backward())
    assert forward.launches == 1
    assert both.operations == 2 * forward.operations
    assert three.operations == 3 * forward.operations


@pytest.mark.parametrize(("seconds", "size", "said"), [(1e-3, 0, "yes"), (1.0, 0, "perhaps"), (1.0, 1e12, "no")])
def test_launch_bound_is_what_the_host_takes_longer_for(seconds, size, said):
    assert floor.Work(launches=1000, bytes=size, seconds=seconds).launch_bound == said


def test_the_table_has_a_row_for_every_step():
    work = floor.Work(launches=100, operations=floor.OPERATIONS_PER_SECOND, bytes=1e9, seconds=2.0)
    assert "| a step | 100 | 395.60 | 1.0 | 1,000.0 | 0.4 / 0.3 | 0.6 | 2,000.0 | 2,000.0 | no |" in floor.table(
        {"a step": work}
    )
