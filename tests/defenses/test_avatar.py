"""AVATAR: noise and back through a score network that the test trains."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from bench.check.contracts import CONTRACTS, checks_of
from bench.errors import UserError
from bench.registry import defenses
from bench.select.spec import select
from defenses.avatar.diffusion import STEPS, kept, noised, purified
from defenses.avatar.network import ScoreNetwork, load, save
from defenses.avatar.training import trained


def draws(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny network, untrained: its last layer is zero, so that it predicts no noise."""
    torch.manual_seed(0)
    network = ScoreNetwork(3, 8, (1, 2))
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.zeros_(network.last.bias)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(network, path)
    return path


def test_noise_keeps_the_variance_and_follows_the_time():
    factors = [kept(step / STEPS) for step in range(STEPS + 1)]
    assert factors[0] == 1
    assert all(before > after for before, after in itertools.pairwise(factors))
    flat = torch.full((1, 1, 300, 300), 0.8)
    for steps in (20, 100, 500):
        images = noised(flat, steps, draws())
        assert float(images.mean()) == pytest.approx(0.8 * kept(steps / STEPS), abs=0.02)
        assert float(images.var()) == pytest.approx(1 - kept(steps / STEPS) ** 2, abs=0.02)
    assert float(noised(flat, 100, draws()).std()) == pytest.approx(0.32, abs=0.01), "43 levels of 255"
    assert noised(flat, 0, draws()) is flat


def test_the_reverse_of_gaussian_images_is_exact():
    """Images from a Gaussian have a known score: noise and its reverse give the same Gaussian."""
    mean, deviation = 0.3, 0.4
    images = mean + deviation * draws(1)((4000, 1, 2, 2))

    def predict(noisy, times):
        factor = kept(float(times[0]))
        spread = 1 - factor**2
        return math.sqrt(spread) * (noisy - factor * mean) / (factor**2 * deviation**2 + spread)

    result = purified(noised(images, 100, draws(2)), 100, predict, draws(3))
    assert float(result.mean()) == pytest.approx(mean, abs=0.02)
    assert float(result.std()) == pytest.approx(deviation, rel=0.03)


def flat_images(seed):
    """256 images of one color each, on 8 x 8 pixels."""
    colors = torch.randint(50, 206, (256, 3, 1, 1), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return colors.expand(-1, -1, 8, 8).contiguous()


def test_a_network_that_was_trained_for_seconds_removes_noise_from_flat_images(tmp_path, random_set, make_context):
    """Flat images of one color, trained and purified from the file: fine noise goes, the color stays."""
    losses = []
    settings = {"width": 8, "multipliers": (1,), "batch_size": 16, "lr": 1e-2, "decay": 0.9}
    network = trained(flat_images(0), epochs=6, on_epoch=lambda epoch, loss: losses.append(loss), **settings)
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0] < 0.5, "1 is no prediction"
    save(network, tmp_path / "flat.safetensors")
    base = random_set(32)
    clean = flat_images(1)[:32]
    poison = 16 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2)).sign()
    poisoned = replace(base, images=(clean.float() + poison).to(torch.uint8))
    defense = select(defenses, f'avatar:weights="{tmp_path / "flat.safetensors"}"')[0].component
    left = defense.purify(poisoned, make_context()).images.float() - clean.float()
    assert left.square().mean() < 0.5 * 16**2
    assert left.mean(dim=(2, 3)).abs().mean() < 13


def test_the_network_learns_from_images_with_the_noise_of_their_times(monkeypatch):
    seen = []
    plain = ScoreNetwork.forward

    def forward(self, images, times):
        seen.append((images, times))
        return plain(self, images, times)

    monkeypatch.setattr(ScoreNetwork, "forward", forward)
    gray = torch.full((64, 3, 8, 8), 230, dtype=torch.uint8)
    trained(gray, epochs=1, width=8, multipliers=(1,), noise_steps=500)
    ((images, times),) = seen
    factors = torch.tensor([kept(float(time)) for time in times])
    assert 1 / STEPS <= times.min() < 0.1 < 0.4 < times.max() <= 0.5
    assert images.mean(dim=(1, 2, 3)) == pytest.approx(factors * (230 / 127.5 - 1), abs=0.25)
    assert images.std(dim=(1, 2, 3)) == pytest.approx((1 - factors**2).sqrt(), rel=0.2)


def test_training_follows_its_seed_and_averages_the_weights():
    def weights_of(seed, decay=0.5):
        small = {"width": 8, "multipliers": (1, 2), "batch_size": 16, "lr": 0.1}
        network = trained(flat_images(0)[:32], epochs=1, seed=seed, decay=decay, **small)
        return torch.cat([value.flatten() for value in network.state_dict().values()])

    before = torch.get_rng_state()
    assert torch.equal(weights_of(1), weights_of(1))
    assert not torch.equal(weights_of(1), weights_of(2))
    first, last = weights_of(1, decay=1.0), weights_of(1, decay=0.0)
    assert torch.allclose(weights_of(1), (first + last) / 2, atol=1e-6)
    assert not torch.equal(first, last)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match=r"noise_steps must be in 1\.\.1000, got 0"):
        trained(flat_images(0), epochs=1, noise_steps=0)


def test_without_noise_the_images_stay(tiny, make_context, weights):
    defense = select(defenses, f'avatar:weights="{weights}":noise_steps=0')[0].component
    assert torch.equal(defense.purify(tiny.train, make_context()).images, tiny.train.images)


def test_a_file_gives_the_network_back(weights):
    network = load(weights)
    assert (network.channels, network.width, network.multipliers, network.divisor) == (3, 8, (1, 2), 2)
    other = load(weights)
    images, times = torch.rand(2, 3, 8, 8), torch.tensor([0.1, 0.5])
    assert torch.equal(network(images, times), other(images, times))


def test_it_keeps_the_contracts(weights):
    from bench.check.component import tiny

    selected = select(defenses, f'avatar:weights="{weights}":noise_steps=2')[0]
    for check in checks_of("defenses", selected):
        if check is not CONTRACTS["defenses"][0].check:  # fresh processes
            check(selected, tiny())
    assert selected.entry.uses == ("clean-originals",)
    assert selected.content is not None


def test_bad_files_and_numbers(tmp_path, tiny, random_set, weights):
    with pytest.raises(UserError, match=r"noise_steps must be in 0\.\.1000"):
        select(defenses, f'avatar:weights="{weights}":noise_steps=1001')
    with pytest.raises(UserError, match="needs weights: write avatar:weights="):
        select(defenses, "avatar")
    assert "avatar" not in [one.name for one in select(defenses, "all")]
    with pytest.raises(UserError, match="no such file"):
        _ = select(defenses, "avatar:weights=absent")[0].content
    (tmp_path / "text").write_text("no weights")
    for name, message in (("absent", "no such file"), ("text", "no safetensors file")):
        defense = select(defenses, f'avatar:weights="{tmp_path / name}"')[0].component
        with pytest.raises(ValueError, match=message):
            defense.check_fit(tiny.train)
    defense = select(defenses, f'avatar:weights="{weights}"')[0].component
    with pytest.raises(ValueError, match="takes 3 channels and sides that 2 divides; the images are 1 x 9 x 9"):
        defense.check_fit(random_set(4, shape=(1, 9, 9)))
