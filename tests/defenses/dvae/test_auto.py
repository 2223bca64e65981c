"""D-VAE with caps chosen on the poisoned set: the rule, and that a poison changes what is chosen."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from bench.api import DataInfo, ImageSet
from defenses.dvae import Dvae, DvaeAuto
from defenses.dvae.auto import _Candidate
from defenses.dvae.judge import Judge, Judgement

QUICK = DvaeAuto(network="tiny", epochs=1, batch_size=8, lr=1e-2, embedding_lr_scale=100.0, judge_epochs=1)


@pytest.fixture
def scripted(monkeypatch, random_set, make_context):
    """Runs the search on judgements that the test states; returns the scale that it chooses and those that it tries."""

    def choose(*judgements, **options):
        train, ctx, left = random_set(), make_context(), list(judgements)
        monkeypatch.setattr(DvaeAuto, "_purified", lambda self, factor, t, c: _Candidate(factor, t, c))
        monkeypatch.setattr(Judge, "judge", lambda self, purified, ctx: Judgement(*left.pop(0)))
        replace(QUICK, **options).purify(train, ctx)
        return ctx.logs["chosen_scale"], ctx.logs["tried_scales"]

    return choose


@pytest.mark.parametrize(
    ("judgements", "chosen", "tried"),
    [
        ([(0.5, 0.5), (0.6, 0.6), (0.6, 0.6), (0.6, 0.6), (0.9, 0.4)], 4, "0.5/1/2/4/inf"),
        ([(0.5, 0.5), (0.6, 0.6), (0.6, 0.6), (0.6, 0.6), (0.7, 0.6)], "inf", "0.5/1/2/4/inf"),
        ([(0.5, 0.5), (0.9, 0.49), (0.99, 0.3)], 1, "0.5/1/2"),  # a poison comes back: better on it, not on the rest
        ([(0.5, 0.6), (0.3, 0.7)], 0.5, "0.5/1"),  # patterns of the purifier's own: the given images lack them
        ([(0.5, 0.5), (0.49, 0.49), (0.475, 0.475)], 1, "0.5/1/2"),  # small steps down add up
    ],
)
def test_caps_are_loosened_until_the_score_falls(scripted, judgements, chosen, tried):
    assert scripted(*judgements) == (chosen, tried)


def test_a_larger_tolerance_goes_on(scripted):
    assert scripted((0.5, 0.5), (0.4, 0.4), scales="1/2", tolerance=0.2) == (2, "1/2")


def test_result_is_that_of_the_chosen_caps(random_set, make_context):
    train, ctx = random_set(), make_context(seed=3, scope="dvae-auto")
    result = replace(QUICK, scales="0.5/2", tolerance=1.0).purify(train, ctx)
    fixed = Dvae(
        network="tiny", epochs=1, batch_size=8, lr=1e-2, embedding_lr_scale=100.0, stage1_cap=2.0, stage2_cap=6.0
    )
    own = make_context(seed=3, scope="dvae")
    assert torch.equal(result.images, fixed.purify(train, own).images)
    assert torch.equal(ctx.kept["perturbation"], own.kept["perturbation"])
    assert own.logs.items() <= ctx.logs.items()
    assert (ctx.logs["chosen_stage1_cap"], ctx.logs["chosen_stage2_cap"]) == (2.0, 6.0)


def test_search_is_charged(random_set, make_context, monkeypatch):
    phases = []
    ctx = make_context()
    original = ctx.phase
    monkeypatch.setattr(type(ctx), "phase", lambda self, name: phases.append(name) or original(name))
    replace(QUICK, scales="0.5/2", tolerance=1.0).purify(random_set(), ctx)
    assert phases.count("judge") == 2 * 2, "a training and an evaluation for each scale"
    assert phases.count("fit") == 2 * 2, "two stages for each scale"
    work = QUICK.work(random_set().info, 100).passes
    assert work > 4 * Dvae(network="tiny", epochs=1).work(random_set().info, 100).passes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": "1/0.5"}, "ascending numbers > 0"),
        ({"scales": "1/1"}, "ascending numbers > 0"),
        ({"scales": "0/1"}, "ascending numbers > 0"),
        ({"scales": "a"}, "ascending numbers > 0"),
        ({"scales": ""}, "ascending numbers > 0"),
        ({"scales": "inf"}, "ascending numbers > 0"),
        ({"scales": "1/nan"}, "ascending numbers > 0"),
        ({"tolerance": 2.0}, "tolerance must be in 0..1"),
        ({"judge_epochs": 0}, "must be at least 1, got 0"),
        ({"stages": 3}, "stages must be 1 or 2"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        replace(QUICK, **options)


def test_a_single_image_is_an_error(random_set):
    with pytest.raises(ValueError, match="holds out half of the images"):
        QUICK.check_fit(random_set(count=1))


def toy(count=200):
    """Two classes told apart by noisy 4x4 color fields, and the same with a pattern for each class added.

    The pattern has mean 0 in every 2x2 block, so that the mean of each block, which blurs little here, removes it.
    """
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 2
    field = torch.randn(2, 3, 4, 4, generator=generator)[labels]
    coarse = 128 + 40 * (field + torch.randn(count, 3, 4, 4, generator=generator))
    clean = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    checkerboard = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)
    stripes = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).repeat(8, 8)
    poisoned = clean + 24 * torch.stack([checkerboard, stripes])[labels][:, None]
    info = DataInfo("toy", 2, (3, 16, 16))
    return (ImageSet(images.clamp(0, 255).round().byte(), labels, info) for images in (clean, poisoned))


def block_means(train):
    means = functional.avg_pool2d(train.images.float(), 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return replace(train, images=means.round().byte())


def test_a_poison_that_loose_caps_keep_is_met_with_the_tight_ones(make_context, monkeypatch):
    """The real judge; in place of D-VAE, tight caps take means of blocks, and loose ones change nothing."""
    purified = {0.5: block_means, 1.0: lambda train: train}
    monkeypatch.setattr(
        DvaeAuto,
        "_purified",
        lambda self, factor, train, ctx: _Candidate(factor, purified[factor](train), ctx),
    )
    chosen = []
    for train in toy():
        ctx = make_context()
        replace(QUICK, scales="0.5/1", judge_epochs=12, tolerance=0.05).purify(train, ctx)
        chosen.append(ctx.logs["chosen_scale"])
    assert chosen == [1.0, 0.5]
