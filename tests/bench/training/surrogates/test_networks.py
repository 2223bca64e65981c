import itertools

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from bench.api import DataInfo
from bench.training import Batches
from bench.training.surrogates.networks import build_surrogate, check_surrogate
from bench.training.surrogates.trainer import endless

CIFAR = DataInfo("cifar-like", 10, (3, 32, 32))


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11_173_962), ("resnet18-imagenet", 11_181_642), ("s-net", 98_970)]
)
def test_parameter_counts(make_context, name: str, parameters: int) -> None:
    model = build_surrogate(name, CIFAR, make_context())
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_resnet18_keeps_the_resolution_of_its_stem(make_context) -> None:
    model = build_surrogate("resnet18", CIFAR, make_context()).eval()
    shapes = []
    for layer in model:
        layer.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    model(torch.zeros(1, 3, 32, 32))
    assert shapes[0] == (64, 32, 32)
    assert [s for s in shapes if len(s) == 3][-2:] == [(512, 4, 4), (512, 1, 1)]


@pytest.mark.parametrize("name", ["resnet18", "resnet18-imagenet", "s-net"])
@pytest.mark.parametrize("info", [DataInfo("gray", 2, (1, 9, 14)), DataInfo("wide", 3, (3, 20, 33))])
def test_any_image_size_channels_and_classes(make_context, name: str, info: DataInfo) -> None:
    model = build_surrogate(name, info, make_context()).eval()
    assert model(torch.rand(2, *info.shape)).shape == (2, info.num_classes)


def test_normalization_is_inside(make_context) -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.2])
    plain, normalized = (
        build_surrogate("s-net", CIFAR, make_context(), **options).eval()
        for options in ({}, {"mean": mean, "std": std})
    )
    images = torch.rand(4, 3, 32, 32)
    by_hand = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.allclose(plain(by_hand), normalized(images), atol=1e-5)


def test_resnet18_imagenet_is_torchvisions(make_context) -> None:
    info = DataInfo("imagenet100", 100, (3, 224, 224))
    ours, theirs = build_surrogate("resnet18-imagenet", info, make_context()), resnet18(num_classes=100)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 11_227_812
    theirs_by_ours = zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True)
    assert all(one.shape == two.shape for one, two in theirs_by_ours)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-4)


def test_weights_depend_on_the_seed_alone(make_context) -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat(
            [p.detach().flatten() for p in build_surrogate("s-net", CIFAR, make_context(seed)).parameters()]
        )

    torch.manual_seed(1)
    once = weights(5)
    torch.manual_seed(2)
    assert torch.equal(once, weights(5))
    assert not torch.equal(once, weights(6))


def test_kaiming_weights_have_the_deviation_of_their_fan_out(make_context) -> None:
    model = build_surrogate("resnet18", CIFAR, make_context(), kaiming=True)
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        fan_out = layer.out_channels * layer.kernel_size[0] ** 2
        assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_an_unknown_network_is_refused_with_the_choices() -> None:
    with pytest.raises(
        ValueError, match=r"unknown surrogate 'resnet-18'; did you mean resnet18\? Choices: resnet18, resnet18-im"
    ):
        check_surrogate("resnet-18")


def test_batches_go_on_across_epochs_without_single_images(smooth_set) -> None:
    batches = Batches(smooth_set(count=9), torch.device("cpu"), 4, torch.Generator().manual_seed(0))
    found = list(itertools.islice(endless(batches), 5))
    assert [len(b.rows) for b in found] == [4, 4, 4, 4, 4], "9 = 4 + 4 + 1"
    assert [b.epoch for b in found] == [0, 0, 1, 1, 2]
