"""The terms of D-VAE's objective: values computed by hand, and where they have no gradient."""

import math

import pytest
import torch

from bench.api import ImageSet
from bench.training import Batches, build
from defenses.dvae import Dvae, purify
from defenses.dvae.architecture import ARCHITECTURES
from defenses.dvae.losses import AMPLITUDE_FLOOR, disentangling_terms, hinge, psnr_db, rate, rate_term
from defenses.dvae.network import Disentangled, DisentanglingVae


def moments(channels=256, fill=0.0):
    return torch.full((2, channels, 16, 16), fill), torch.zeros(2, channels, 16, 16)


def outputs(reconstruction=0.5, perturbation=0.0, mu=0.0):
    """Constant outputs of a network, as leaves that collect gradients."""
    leaves = [torch.full((2, 3, 8, 8), v).requires_grad_() for v in (reconstruction, perturbation)]
    return Disentangled(*leaves, torch.full((2, 4, 4, 4), mu).requires_grad_(), torch.zeros(2, 4, 4, 4))


def values(terms):
    return {name: value.item() for name, value in terms.items()}


def test_rate_of_the_prior_is_zero():
    assert rate(*moments()) == 0


def test_rate_sums_over_channels_and_averages_over_positions():
    mu, logvar = moments()
    mu[:, 7] = 1.0
    assert rate(mu, logvar) == pytest.approx(0.5)
    mu[:, 8, :8] = 1.0  # on half of the positions
    assert rate(mu, logvar) == pytest.approx(0.75)


def test_rate_equals_the_divergence_of_torch():
    generator = torch.Generator().manual_seed(0)
    mu, logvar = torch.randn(2, 3, 5, 4, 4, generator=generator)
    code = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean()
    assert rate(mu, logvar) == pytest.approx(float(expected), rel=1e-5)
    assert rate(mu, logvar) > 0


def test_below_its_floor_a_hinge_has_no_gradient():
    for value, slope in ((0.5, 0.0), (1.5, 1.0)):
        x = torch.tensor(value, requires_grad=True)
        hinge(x, 1.0).backward()
        assert x.grad == slope


@pytest.mark.parametrize(("cap", "weight"), [(0.5, 0.5), (0.99, 0.5), (1.0, 0.01), (3.0, 0.01)])
def test_weight_of_the_rate(cap, weight):
    assert rate_term(torch.tensor(cap + 1), cap) == pytest.approx(weight * (cap + 1))


def test_objective_by_hand():
    out = outputs(reconstruction=0.5, perturbation=0.2, mu=1.0)  # 4 channels of 0.5 nats each
    terms = values(disentangling_terms(out, torch.full((2, 3, 8, 8), 0.6), cap=1.0, amplitude=True))
    assert terms["kld"] == pytest.approx(2.0)
    assert terms["reconstruction"] == pytest.approx(0.1**2, rel=1e-5)
    assert terms["perturbation"] == pytest.approx(0.2**2)
    assert terms["loss"] == pytest.approx(0.1**2 + 0.1**2 + 0.01 * 2.0 + 0.2**2, rel=1e-5)


def test_mixture_reaches_both_decoders():
    out = outputs(reconstruction=0.6, perturbation=0.2)
    images = torch.full((2, 3, 8, 8), 0.6)  # the reconstruction alone is perfect
    disentangling_terms(out, images, cap=1.0, amplitude=False)["loss"].backward()
    assert out.reconstruction.grad.min() > 0
    assert out.perturbation.grad.min() > 0


def test_mixture_is_clamped():
    out = outputs(reconstruction=1.0, perturbation=0.2)
    terms = values(disentangling_terms(out, torch.ones(2, 3, 8, 8), cap=1.0, amplitude=False))
    assert terms["loss"] == pytest.approx(0.01)  # the constant of the rate's hinge


@pytest.mark.parametrize(("rms", "amplitude", "pull"), [(0.03, True, False), (0.06, True, True), (0.06, False, False)])
def test_amplitude_pulls_only_above_its_floor_and_after_the_warmup(rms, amplitude, pull):
    assert (rms**2 > AMPLITUDE_FLOOR) == (rms == 0.06)
    out = outputs(reconstruction=0.5, perturbation=rms)
    disentangling_terms(out, torch.full((2, 3, 8, 8), 0.5 + rms), cap=1.0, amplitude=amplitude)["loss"].backward()
    assert bool(out.perturbation.grad.abs().max() > 1e-6) == pull


@pytest.mark.parametrize(("epochs", "options"), [(5, {"warmup_epochs": 2}), (13, {}), (3, {})])
def test_amplitude_sets_in_after_the_warmup(monkeypatch, random_set, make_context, epochs, options):
    """As released, the 12th epoch is the first with it, however many there are."""
    seen = []
    original = purify.disentangling_terms

    def spy(out, images_01, cap, amplitude):
        seen.append((cap, amplitude))
        return original(out, images_01, cap, amplitude)

    monkeypatch.setattr(purify, "disentangling_terms", spy)
    train: ImageSet = random_set(count=8)
    ctx = make_context()
    Dvae(network="tiny", epochs=epochs, batch_size=8, **options).purify(train, ctx)
    first = options.get("warmup_epochs", 11)
    rehearsed = 0  # the step before the clock starts is one of the first epoch
    assert seen == [(cap, epoch >= first) for cap in (1.0, 3.0) for epoch in (rehearsed, *range(epochs))]
    assert ctx.logs["amplitude_epochs"] == max(0, epochs - first)


def test_psnr():
    assert psnr_db(0.01) == pytest.approx(20.0)
    assert math.isfinite(psnr_db(0.0))


def test_a_step_never_waits_for_the_device(random_set, make_context, no_reading):
    images, ctx = random_set(shape=(3, 16, 16)), make_context()
    network = build(lambda: DisentanglingVae(ARCHITECTURES["tiny"], images.info.shape, 4), ctx)
    batch = next(iter(Batches(images, ctx.device, 8, ctx.generator("order"))))
    with no_reading():
        for amplitude in (False, True):
            terms = disentangling_terms(network(batch.images_01, batch.labels), batch.images_01, 1.0, amplitude)
            terms["loss"].backward()
