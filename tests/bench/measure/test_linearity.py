"""Agreement of gradients: 1 for a linear network, as by hand for another one, nothing without gradients."""

import pytest
import torch
from torch import nn
from torch.func import jacrev

from bench.measure.linearity import gradient_agreement

CPU = torch.device("cpu")


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def two_layers() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))


class Flat(nn.Module):
    """Of every image the same logits, without gradients, or with gradients of zero."""

    def __init__(self, zero: bool) -> None:
        super().__init__()
        self.zero = zero

    def forward(self, images):
        return images.flatten(1)[:, :4] * 0 if self.zero else torch.ones(len(images), 4)


def test_a_linear_network_agrees_with_itself_everywhere(random_set) -> None:
    data = random_set(count=301)
    found, images = gradient_agreement(linear(), data.images, data.labels, CPU)
    assert found == pytest.approx(1, abs=1e-6)
    assert images == 256, "at most 128 pairs"


def test_it_is_the_cosine_by_hand(random_set) -> None:
    data, network = random_set(count=81), two_layers()
    rows = torch.randperm(81, generator=torch.Generator().manual_seed(0))
    jacobian = jacrev(lambda image: network(image[None])[0])
    cosines = []
    for one, other in zip(rows[:40], rows[40:80], strict=True):
        of_all = [jacobian(data.images[row].float() / 255).flatten(1) for row in (one, other)]
        label = data.labels[one]
        cosines.append(torch.cosine_similarity(*(j[label] - j.mean(dim=0) for j in of_all), dim=0))
    found, images = gradient_agreement(network, data.images, data.labels, CPU)
    assert images == 80
    assert found == pytest.approx(torch.stack(cosines).mean().item(), abs=1e-5)
    assert -0.9 < found < 0.9


def test_a_factor_of_the_logits_changes_nothing(random_set) -> None:
    data, network = random_set(), two_layers()
    plain = gradient_agreement(network, data.images, data.labels, CPU)[0]
    with torch.no_grad():
        network[3].weight *= 7
        network[3].bias += 3
    assert gradient_agreement(network, data.images, data.labels, CPU)[0] == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("network", [Flat(zero=False), Flat(zero=True)], ids=["no gradient", "zero"])
def test_without_gradients_there_is_no_score(random_set, network) -> None:
    data = random_set()
    assert gradient_agreement(network, data.images, data.labels, CPU) == (None, 0)
    assert gradient_agreement(linear(), data.images[:1], data.labels[:1], CPU) == (None, 0)


def test_the_network_stays_as_it_was(random_set) -> None:
    data, network = random_set(), nn.Sequential(nn.BatchNorm2d(3), *two_layers()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    gradient_agreement(network, data.images, data.labels, CPU)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
