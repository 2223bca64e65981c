"""A ratio means something only if both sides do the same work: each baseline beside what it is compared with."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from attacks.ar import Ar
from attacks.ar.process import autoregress
from attacks.lsp import Lsp
from attacks.ops import Ops
from bench.api import ImageSet, add_perturbation
from bench.datasets import loading
from bench.training import Batches
from defenses.jpeg.codec import jpeg_round_trip

from .bench_batches import PlainSet
from .bench_closed_forms import plain_ar, plain_lsp, plain_ops
from .bench_jpeg import pillow
from .bench_pgd import crafting, plain_pgd
from .released_dvae import ReleasedDvae


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> ImageSet:
    # 19 a class: no mean over them is exactly gray, where two colors are equally far and OPS could take either.
    return loading.load("shapes:train=190:test=10", tmp_path_factory.mktemp("data")).train


def _last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def test_ops_finds_the_pixels_of_the_loop(shapes, make_context) -> None:
    found = Ops().poison(shapes, make_context())
    assert (found.images != shapes.images).any()
    assert np.array_equal(_last(found.images), plain_ops(_last(shapes.images), shapes.labels.numpy()))


def test_ar_makes_the_images_of_the_loop(shapes) -> None:
    count, windows = 3, Ar()._load(10)
    fields = torch.randn(count, 3, 36, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = torch.cat([fields[:, :, :2].flatten(2), fields[:, :, 2:, :2].flatten(2)], dim=2)
    noise = torch.stack(
        [autoregress(windows[k], s[:, None], 36, 36)[:, 0] for k, s in zip(shapes.labels, start, strict=False)]
    )[..., 4:, 4:]
    ours = add_perturbation(shapes.images[:count], noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
    looped = plain_ar(shapes.images[:count], shapes.labels, windows, fields)
    assert (looped.int() - ours.int()).abs().max() <= 1  # halves are rounded before or after the image is added
    assert (looped == ours).double().mean() > 0.99


def test_lsp_makes_the_images_of_the_released_way(shapes, make_context) -> None:
    attack = Lsp(rounding="floor")
    features = attack._features(shapes, make_context()).numpy()
    ours = _last(attack.poison(shapes, make_context()).images).astype(int)
    plain = plain_lsp(_last(shapes.images), shapes.labels.numpy(), features).astype(int)
    assert abs(ours - plain).max() <= 1  # where 255 times a sum is a whole number but for rounding
    assert (ours == plain).mean() > 0.99


def test_jpeg_equals_the_loop_within_one_level(shapes) -> None:
    assert (jpeg_round_trip(shapes.images, 10).int() - pillow(shapes.images).int()).abs().max() <= 1


@pytest.mark.parametrize("weights_have_gradients", [True, False])
def test_gradient_steps_end_where_the_naive_loop_ends(shapes, make_context, weights_have_gradients) -> None:
    part = shapes.take(torch.arange(8))
    model, noise = crafting("s-net", part, make_context())
    noise.update(model)
    model.requires_grad_(weights_have_gradients)
    looped = plain_pgd(model, part.images.float() / 255, part.labels)
    # A gradient near zero may change its sign with the order of summation, and an entry then goes another way.
    assert ((noise.delta - looped).abs() < 1e-5).double().mean() > 0.95


def test_an_epoch_of_batches_is_augmented_alike_either_way(shapes) -> None:
    plain = PlainSet(shapes.images, shapes.labels)
    (batch,) = Batches(shapes, torch.device("cpu"), len(shapes), torch.Generator(), crop_padding=4, flip=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images, labels = zip(*(plain[index] for index in range(len(shapes))), strict=True)
    looped = torch.stack(images)
    assert (batch.images_01.shape, batch.images_01.dtype) == (looped.shape, looped.dtype)
    assert sorted(batch.labels.tolist()) == sorted(labels)
    for dim, side in itertools.product((2, 3), (0, -1)):  # other random numbers, but as much black at every border
        ours, theirs = (float(images.select(dim, side).mean()) for images in (batch.images_01, looped))
        assert ours == pytest.approx(theirs, rel=0.2)


def test_the_released_network_is_as_large_and_as_costly_as_described() -> None:
    network = ReleasedDvae().eval()
    assert sum(p.numel() for p in network.parameters()) == 11_975_376
    assert sum(p.numel() for p in network.rest.parameters()) == 10_793_994
    features = network.trunk(torch.rand(1, 3, 32, 32))
    assert _operations(lambda: network(torch.rand(1, 3, 32, 32), torch.tensor([0]))) == pytest.approx(1.525e9, rel=0.01)
    assert _operations(lambda: network.rest(features)) == pytest.approx(0.688e9, rel=0.01)


def _operations(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())
