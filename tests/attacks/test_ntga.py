from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from attacks.ntga import Ntga
from attacks.ntga.kernel import Trained, _phi, tangent_kernel
from bench.api import ImageSet, Recipe
from bench.errors import UserError
from bench.training import Batches, accuracy, cross_entropy, fit
from bench.training.surrogates import build_surrogate


def _double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _difference(poisoned: ImageSet, train: ImageSet) -> Tensor:
    return poisoned.images.to(torch.int16) - train.images.to(torch.int16)


class _Layer(nn.Module):
    """Dense in the tangent parameterization, then erf."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(after, before)), nn.Parameter(torch.randn(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf((1.76 / x.shape[-1]) ** 0.5 * x @ self.weight.T + 0.18**0.5 * self.bias)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_kernel_is_that_of_a_wide_network(depth: int) -> None:
    """The mean over random finite networks of the product of their gradients."""
    torch.manual_seed(0)
    images = torch.randn(3, 6)
    widths = [6, *[300] * (depth - 1), 1]

    def drawn() -> Tensor:
        network = nn.Sequential(*(_Layer(before, after) for before, after in pairwise(widths)))
        parameters = {name: value.detach() for name, value in network.named_parameters()}
        gradients = vmap(jacrev(lambda p, x: functional_call(network, p, (x,))[0]), (None, 0))(parameters, images)
        flat = torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)
        return flat @ flat.T

    found = torch.stack([drawn() for _ in range(400)]).mean(0)
    expected = tangent_kernel(images.double(), images.double(), depth).float()
    assert torch.allclose(found, expected, rtol=0.1, atol=0.05)


def test_phi_is_the_solution_of_its_equation() -> None:
    root = _double(5, 5)
    matrix, columns = -root @ root.T, _double(5, 2, seed=1)
    expected = torch.linalg.solve(matrix, (torch.linalg.matrix_exp(matrix) - torch.eye(5)) @ columns)
    assert torch.allclose(_phi(matrix, columns), expected)


def test_predictions_are_those_of_gradient_descent() -> None:
    """Many small steps on the outputs themselves, whose motion the kernel governs."""
    train, seen, wanted = _double(6, 8), _double(4, 8, seed=1), _double(6, 3, seed=2)
    kernel = tangent_kernel(train, train, 2)
    kernel = kernel + 1e-4 * kernel.diagonal().mean() * torch.eye(6)
    across = tangent_kernel(seen, train, 2)
    inside, outside, steps = torch.zeros(6, 3).double(), torch.zeros(4, 3).double(), 4000
    for _ in range(steps):
        slope = (inside - wanted) / wanted.numel()
        inside, outside = inside - 20 / steps * kernel @ slope, outside - 20 / steps * across @ slope
    assert torch.allclose(Trained(2, 20.0).predict(train, wanted, seen), outside, rtol=1e-2, atol=1e-3)


def test_the_network_errs_more_and_a_victim_fails(learnable_set, make_context) -> None:
    train, ctx = learnable_set(count=200, pattern_levels=1.5, noise_levels=10), make_context()
    before = train.images.clone()
    poisoned = Ntga(block=100, time=64.0).poison(train, ctx)
    assert _difference(poisoned, train).abs().max() == 8
    assert ctx.logs["validation_loss_after"] > ctx.logs["validation_loss_before"]
    assert torch.equal(train.images, before)
    found = []
    for seen in (train, poisoned):
        victim_ctx = make_context(scope="victim")
        victim = build_surrogate("s-net", train.info, victim_ctx)
        batches = Batches(seen, victim_ctx.device, 20, victim_ctx.generator("batch-order"))
        fit(victim, batches, cross_entropy(victim), Recipe(epochs=10, lr=0.1, schedule="one-cycle"), victim_ctx)
        found.append(accuracy(victim, train, victim_ctx.device))
    assert found[0] > 0.9
    assert found[1] < 0.6


def test_steps_are_the_authors(learnable_set, make_context) -> None:
    train = learnable_set(count=12)
    one = _difference(Ntga(steps=1, block=6, step_size=2 / 255).poison(train, make_context()), train)
    assert set(one.abs().unique().tolist()) <= {0, 2}
    attack = Ntga()
    assert (attack.eps, attack.steps, attack.block, attack.validation, attack.depth) == (8 / 255, 10, 512, 10_000, 5)


def test_the_seed_decides_and_blocks_cover_everything(learnable_set, make_context) -> None:
    train = learnable_set(count=25)
    one, again, other = (Ntga(block=8).poison(train, make_context(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (one != train.images).flatten(1).any(1).all()


def test_odd_images_saturated_images_and_one_block(learnable_set, make_context) -> None:
    train = learnable_set(21, 2, shape=(1, 9, 14), labels=torch.tensor([0] * 17 + [1] * 4))
    train.images[0], train.images[1] = 0, 255
    difference = _difference(Ntga(steps=2).poison(train, make_context()), train)
    assert difference[0].min() >= 0
    assert difference[1].max() <= 0
    assert 0 < difference.abs().max() <= 8


def test_one_class_is_refused(learnable_set, make_context) -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        Ntga().poison(learnable_set(labels=torch.zeros(120, dtype=torch.int64)), make_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 0.0}, "eps is an L-inf radius"),
        ({"time": float("inf")}, "time must be"),
        ({"block": 1}, "block must be at least 2 images, got 1"),
        ({"validation": 0}, "validation must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ntga(**settings)
